"""A LeViT as the backbone of a detector: levels of a pyramid by name."""

import keras
import numpy as np
import pytest

import levit_tf
from tests.support.cases import slow
from tests.support.randomize import random_images, randomize_keras


def test_levels_have_the_strides_and_channels_that_they_say():
    pyramid = levit_tf.backbone("LeViTNano")
    assert list(pyramid.pyramid_outputs) == ["P1", "P2", "P3", "P4", "P5", "P6"]
    assert pyramid.strides == {"P1": 2, "P2": 4, "P3": 8, "P4": 16, "P5": 32, "P6": 64}
    assert pyramid.channels == {"P1": 4, "P2": 8, "P3": 16, "P4": 32, "P5": 48, "P6": 64}
    maps = pyramid(random_images((64, 128)), training=False)
    for level, stride in pyramid.strides.items():
        expected = (2, 64 // stride, 128 // stride, pyramid.channels[level])
        assert tuple(maps[level].shape) == expected


def test_a_stem_of_stride_8_has_five_levels():
    assert list(levit_tf.backbone("LeViTTiny").strides.values()) == [2, 4, 8, 16, 32]


def test_levels_are_chosen_and_are_those_of_the_network():
    model = levit_tf.LeViT("LeViTNano")
    randomize_keras(model)
    pyramid = levit_tf.backbone(model, ("P4", "P6"))
    images = random_images((64, 64))
    found, expected = pyramid(images), levit_tf.feature_extractor(model)(images)
    for level, name in (("P4", "stages_0"), ("P6", "stages_2")):
        np.testing.assert_array_equal(
            *map(keras.ops.convert_to_numpy, (found[level], expected[name]))
        )
    assert list(found) == ["P4", "P6"]


@pytest.mark.slow
def test_a_saved_backbone_is_one_again(tmp_path):
    pyramid = levit_tf.backbone("LeViTNano", ["P3", "P5"])
    pyramid.save(tmp_path / "pyramid.keras")
    loaded = keras.models.load_model(tmp_path / "pyramid.keras")
    assert loaded.strides == {"P3": 8, "P5": 32}
    assert loaded.channels == pyramid.channels
    assert loaded.input_shape == (None, None, None, 3)


@pytest.mark.slow
def test_a_head_on_the_pyramid_learns():
    pyramid = levit_tf.backbone("LeViTNano", ["P3", "P5"])
    maps = pyramid.pyramid_outputs
    up = keras.layers.UpSampling2D(4, data_format="channels_last")(maps["P5"])
    x = keras.layers.Concatenate()([maps["P3"], up])
    model = keras.Model(pyramid.input, keras.layers.Conv2D(2, 1)(x))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    masks = np.zeros((2, 8, 16), np.int32)
    assert np.isfinite(model.train_on_batch(random_images((64, 128)), masks))


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (["P7"], "has no level 'P7'"),
        slow([], "at least one"),
        slow(["P3", "P3"], "must differ"),
    ],
    ids=str,
)
def test_levels_that_are_not_there_are_refused(levels, message):
    with pytest.raises(ValueError, match=message):
        levit_tf.backbone("LeViTNano", levels)


def test_arguments_for_a_network_that_is_there_are_refused():
    model = levit_tf.LeViT("LeViTNano")
    with pytest.raises(ValueError, match="is there already"):
        levit_tf.backbone(model, input_shape=96)
