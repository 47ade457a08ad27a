"""The keras.applications face of the model: every argument, and what is refused."""

import inspect

import keras
import numpy as np
import pytest

import levit_tf
from tests.support.cases import slow, some_slow
from tests.support.randomize import randomize_keras

SMALL = "LeViTNano"


def _images(model, batch=2, seed=0):
    shape = (batch, *model.input_shape[1:])
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _predict(model, images):
    outputs = model(images, training=False)
    return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)


@pytest.mark.parametrize(
    ("name", "trainable", "total"),
    [("LeViT128S", 7_777_058, 7_816_706), slow("LeViT256", 18_893_876, 18_967_028)],
)
def test_parameter_counts_are_the_references(name, trainable, total):
    model = levit_tf.LeViT(name)
    assert sum(np.prod(w.shape) for w in model.trainable_weights) == trainable
    assert model.count_params() == total


def test_applications_have_the_keras_signature():
    ours = inspect.signature(levit_tf.LeViT256).parameters
    for name, theirs in inspect.signature(keras.applications.ResNet50).parameters.items():
        assert name in ours
        if name != "name":
            assert ours[name].default == theirs.default
    assert levit_tf.LeViT256(weights=None, input_shape=(64, 64, 3)).name == "LeViT256"


@pytest.mark.parametrize(
    ("pooling", "shape"), [(None, (2, 1, 1, 64)), ("avg", (2, 64)), slow("max", (2, 64))]
)
def test_without_the_top_pooling_decides_the_output(pooling, shape):
    model = levit_tf.LeViT(SMALL, include_top=False, pooling=pooling)
    assert _predict(model, _images(model)).shape == shape


@pytest.mark.slow
def test_pooling_pools_the_last_map():
    maps = levit_tf.LeViT(SMALL, include_top=False, input_shape=(96, 128, 3))
    randomize_keras(maps)
    images = _images(maps)
    expected = _predict(maps, images)
    for pooling, reduce in (("avg", np.mean), ("max", np.max)):
        pooled = levit_tf.LeViT(SMALL, include_top=False, input_shape=(96, 128, 3), pooling=pooling)
        pooled.set_weights(maps.get_weights())
        np.testing.assert_allclose(
            _predict(pooled, images), reduce(expected, axis=(1, 2)), rtol=1e-5, atol=1e-6
        )


def test_average_is_the_mean_of_both_logits_and_shares_weights_by_name():
    both = levit_tf.LeViT(SMALL, heads="both", classes=5)
    average = levit_tf.LeViT(SMALL, classes=5, classifier_activation=None)
    single = levit_tf.LeViT(SMALL, heads="single", classes=5, classifier_activation=None)
    randomize_keras(both)
    by_path = {w.path: w for w in both.weights}
    for model in (average, single):
        for variable in model.weights:
            variable.assign(by_path[variable.path])
    images = _images(both)
    logits = _predict(both, images)
    assert set(logits) == {"head", "head_dist"}
    assert np.abs(logits["head"] - logits["head_dist"]).max() > 0.1
    mean = (logits["head"] + logits["head_dist"]) / 2
    np.testing.assert_allclose(_predict(average, images), mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(_predict(single, images), logits["head"], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_activation_follows_the_average():
    logits = levit_tf.LeViT(SMALL, classes=5, classifier_activation=None)
    randomize_keras(logits)
    softmax = levit_tf.LeViT(SMALL, classes=5)
    softmax.set_weights(logits.get_weights())
    images = _images(logits)
    exponent = np.exp(_predict(logits, images))
    expected = exponent / exponent.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(_predict(softmax, images), expected, rtol=1e-5)


def test_input_tensor_puts_layers_before_the_network_and_keeps_the_graph_flat():
    raw = keras.Input((64, 64, 3))
    model = levit_tf.LeViT(SMALL, input_tensor=keras.layers.Rescaling(1 / 255)(raw))
    assert model.inputs[0] is raw
    assert model.get_layer("stages_1_blocks_0_attn").num_heads == 3
    assert _predict(model, _images(model)).shape == (2, 1000)


@pytest.mark.slow
@pytest.mark.parametrize(
    "input_shape",
    [
        np.int64(64),
        np.array([64, 64, 3]),
        *(slow(shape) for shape in (64, (64, 64, 3), [np.int32(64), 64, 3])),
    ],
)
def test_numbers_may_be_numpys_and_one_is_a_square(input_shape, tmp_path):
    model = levit_tf.LeViT(SMALL, input_shape=input_shape, classes=np.int64(3))
    assert (model.input_shape, model.output_shape) == ((None, 64, 64, 3), (None, 3))
    model.save(tmp_path / "model.keras")
    assert keras.models.load_model(tmp_path / "model.keras").output_shape == (None, 3)


@pytest.mark.slow
def test_drop_path_rate_overrides_the_variants():
    def rates(**kwargs):
        model = levit_tf.LeViT("LeViT384", input_shape=(64, 64, 3), **kwargs)
        return [layer.rate for layer in model.layers if isinstance(layer, levit_tf.layers.DropPath)]

    # Two residual branches in each of 12 blocks, and the MLPs of two subsamplings.
    assert rates() == [0.1] * 26
    assert rates(drop_path_rate=0.0) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": (100, 100, 1)}, "height must be a positive multiple .* 96 and 112"),
        ({"input_shape": (64, 8, 3)}, "width must be a positive multiple"),
        ({"input_shape": (64, 64)}, "three positive integers"),
        ({"input_shape": (64,)}, "three positive integers"),
        ({"input_shape": 64.0}, "three positive integers, .* or one for the sides of a square"),
        ({"input_shape": "64"}, "three positive integers, .* or one for the sides of a square"),
        ({"classes": True}, "classes must be a positive integer"),
        ({"classes": 0}, "classes must be a positive integer. Received: 0"),
        ({"classes": 2.0}, "classes must be a positive integer"),
        ({"heads": "two"}, "'average', 'both', 'single'"),
        ({"pooling": "avg"}, "needs include_top=False"),
        ({"include_top": False, "pooling": "mean"}, "None, 'avg', 'max'"),
        ({"heads": "both", "classifier_activation": "sigmoid"}, "returns the logits of both"),
        ({"drop_path_rate": 1.5}, "drop_path_rate must lie in"),
        ({"weights": "imagenet", "classes": 10}, "reset_classifier"),
        ({"weights": "imagenet", "classifier_activation": "relu"}, 'None or "softmax"'),
        ({"input_tensor": np.zeros((1, 64, 64, 3))}, "must be a Keras tensor"),
    ],
)
def test_what_cannot_be_built_is_refused_with_what_can(arguments, message):
    with pytest.raises(ValueError, match=message):
        levit_tf.LeViT(SMALL, **arguments)


def test_input_shape_and_input_tensor_must_agree():
    with pytest.raises(ValueError, match="differ; give one of them"):
        levit_tf.LeViT(SMALL, input_tensor=keras.Input((64, 64, 3)), input_shape=(96, 96, 3))


def test_unknown_arguments_are_not_swallowed():
    with pytest.raises(TypeError, match="num_classes"):
        levit_tf.LeViT256(weights=None, num_classes=10)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        {"heads": "both"},
        {"input_shape": (64, 96, 1), "classes": 7, "drop_path_rate": 0.2},
        slow({}),
        slow({"classes": 7, "drop_path_rate": 0.2}),
        slow({"input_shape": (64, 96, 1)}),
        slow({"include_top": False}),
    ],
)
def test_a_keras_file_gives_the_same_outputs_to_the_bit(arguments, tmp_path):
    model = levit_tf.LeViT(SMALL, **arguments)
    randomize_keras(model)
    model.save(tmp_path / "levit.keras")
    loaded = keras.models.load_model(tmp_path / "levit.keras")
    images = _images(model)
    keras.tree.map_structure(
        np.testing.assert_array_equal, _predict(loaded, images), _predict(model, images)
    )


@pytest.mark.parametrize("name", ["LeViTTiny", slow("LeViT256D"), slow("LeViT384S8")])
def test_timms_and_the_tiny_variants_build_and_run(name):
    model = levit_tf.LeViT(name, input_shape=(32, 32, 3), classes=3)
    probabilities = _predict(model, _images(model))
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", some_slow(levit_tf.list_variants()[:5], fast=["LeViT128S"]))
def test_counts_are_the_papers_within_one_percent(name):
    paper = levit_tf.get_variant(name).published
    model = levit_tf.LeViT(name)
    assert levit_tf.count_flops(model) / 1e6 == pytest.approx(paper.flops, rel=0.01)
    assert model.count_params() / 1e6 == pytest.approx(paper.params, rel=0.02)


def test_summary_table_shows_counts_beside_the_papers():
    table = levit_tf.summary_table(["LeViT128S", "LeViTNano"]).splitlines()
    *_, small, tiny = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table)
    assert small[:3] == ["LeViT128S", "224x224", "7,816,706"]
    assert small[3:] == ["7.8 M", "305 M", "305 M", "76.6 %"]
    assert tiny[-2:] == ["-", "-"]
