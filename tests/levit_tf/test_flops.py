"""`count_flops` counts what it knows and refuses what it does not; it is never 0."""

import keras
import pytest

import levit_tf
from levit_tf import count_flops


@pytest.fixture(scope="module")
def tiny():
    return levit_tf.LeViT("LeViTTiny", classes=5, heads="single")


@pytest.fixture(scope="module")
def flops(tiny):
    return count_flops(tiny)


def test_the_deploy_form_has_the_flops_of_the_train_form(tiny, flops):
    # Over the last stage's single token there is no softmax to compute, nor what it is made of.
    assert 0.98 * flops < count_flops(levit_tf.fuse(tiny)) <= flops


@pytest.mark.slow
def test_on_larger_pictures_both_forms_have_the_same_flops():
    model = levit_tf.LeViT("LeViTTiny", classes=5, heads="single", input_shape=64)
    assert count_flops(levit_tf.fuse(model)) == count_flops(model)


def test_a_levit_may_be_a_layer_among_others(tiny, flops):
    images = keras.Input((32, 32, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, -1)(images)
    functional = keras.Model(images, keras.layers.Dense(3)(tiny(scaled)))
    assert count_flops(functional) == flops + 5 * 3
    layers = [keras.Input((32, 32, 3)), keras.layers.Rescaling(1 / 255), tiny]
    assert count_flops(keras.Sequential([*layers, keras.layers.Dense(2, "softmax")])) == flops + 10


def test_what_is_called_twice_counts_twice(tiny, flops):
    one, other = keras.Input((32, 32, 3)), keras.Input((32, 32, 3))
    assert count_flops(keras.Model([one, other], [tiny(one), tiny(other)])) == 2 * flops
    assert count_flops(tiny) == flops


def test_other_networks_are_counted_by_their_kernels():
    images = keras.Input((16, 12, 3))
    x = keras.layers.Conv2D(8, 3, padding="same")(images)  # 16*12*8*27
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.DepthwiseConv2D(3, strides=2, padding="same")(x)  # 8*6*8*9
    x = keras.layers.Conv2D(4, 1, groups=2)(x)  # 8*6*4*4
    x = keras.layers.SeparableConv2D(6, 3, padding="same")(x)  # 8*6*(4*9 + 4*6)
    x = keras.layers.Conv2DTranspose(2, 2, strides=2)(x)  # 8*6*4*6*2
    x = keras.layers.Dense(7)(keras.layers.GlobalAveragePooling2D()(x))  # 2*7
    expected = 16 * 12 * 8 * 27 + 48 * (72 + 16 + 60 + 48) + 14
    assert count_flops(keras.Model(images, x)) == expected
    # As its publication counts them: 300 M.
    assert count_flops(keras.applications.MobileNetV2(weights=None)) == pytest.approx(3e8, rel=0.01)


class Squares(keras.layers.Layer):
    def call(self, x):
        return keras.ops.matmul(x, keras.ops.swapaxes(x, -1, -2))


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([keras.layers.Lambda(keras.ops.square, name="squares")], "'squares', a Lambda"),
        ([Squares(name="mine")], "'mine', a Squares"),
        ([keras.layers.Reshape((4, 3)), keras.layers.LSTM(2, name="memory")], "'memory', a LSTM"),
        ([keras.layers.Flatten()], "nothing to count"),
    ],
)
def test_what_nobody_knows_is_refused_by_name(layers, message):
    model = keras.Sequential([keras.Input((2, 2, 3)), *layers])
    with pytest.raises(ValueError, match=message):
        count_flops(model)


def test_models_without_a_graph_or_a_size_are_refused():
    with pytest.raises(ValueError, match=r"Expected a functional keras\.Model"):
        count_flops(Subclassed())
    with pytest.raises(ValueError, match="a Sequential of unknown input"):
        count_flops(keras.Sequential([keras.layers.Dense(2)]))
    images = keras.Input((None, None, 3))
    with pytest.raises(ValueError, match="fixed sizes"):
        count_flops(keras.Model(images, keras.layers.Conv2D(2, 3)(images)))
