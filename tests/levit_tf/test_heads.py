"""Feature maps by name, new classifiers, and the heads used in another way."""

import functools

import keras
import numpy as np
import pytest

import levit_tf
from tests.support.randomize import randomize_keras


@functools.cache
def _model(**kwargs):
    """A network for all tests, not to be changed."""
    model = levit_tf.LeViT("LeViTNano", **kwargs)
    randomize_keras(model)
    return model


def _run(model, seed=0):
    shape = (2, *model.input_shape[1:])
    images = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return keras.tree.map_structure(keras.ops.convert_to_numpy, model(images, training=False))


def test_feature_maps_have_names_and_the_strides_of_a_pyramid():
    features = levit_tf.feature_extractor(_model(input_shape=(128, 192, 3)))
    shapes = {name: output.shape[1:] for name, output in _run(features).items()}
    assert shapes == {
        "stem": (8, 12, 32),
        "stages_0": (8, 12, 32),
        "stages_1": (4, 6, 48),
        "stages_2": (2, 3, 64),
    }


@pytest.mark.slow
def test_the_last_map_is_what_the_headless_model_returns():
    model = _model(include_top=False)
    np.testing.assert_array_equal(_run(levit_tf.feature_extractor(model))["stages_2"], _run(model))


def test_features_of_another_model_are_refused():
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="is no LeViT: it has no layer 'stem'"):
        levit_tf.feature_extractor(other)


@pytest.mark.parametrize("heads", [None, "both", "single"])
def test_a_new_classifier_shares_the_backbone_and_starts_fresh(heads):
    model = _model(classes=5)
    new = levit_tf.reset_classifier(model, 3, heads=heads)
    assert new.get_layer("stages_1_blocks_0_attn") is model.get_layer("stages_1_blocks_0_attn")
    classifier = new.get_layer("classifier")
    assert (classifier.classes, classifier.heads) == (3, heads or "average")
    assert keras.ops.convert_to_numpy(classifier.head.linear.kernel).std() < 0.03
    outputs = keras.tree.flatten(_run(new))
    assert all(output.shape == (2, 3) for output in outputs)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", [None, "avg", "max"])
def test_a_headless_model_gets_a_classifier(pooling):
    new = levit_tf.reset_classifier(_model(include_top=False, pooling=pooling), 3)
    np.testing.assert_allclose(_run(new).sum(axis=-1), 1, rtol=1e-5)


def test_a_distilled_model_is_shipped_with_the_mean_of_its_heads():
    both = _model(heads="both", classes=5)
    logits = _run(both)
    average = levit_tf.with_heads(both, "average", classifier_activation=None)
    np.testing.assert_allclose(
        _run(average), (logits["head"] + logits["head_dist"]) / 2, rtol=1e-5, atol=1e-6
    )
    single = levit_tf.with_heads(both, "single", classifier_activation=None)
    np.testing.assert_allclose(_run(single), logits["head"], rtol=1e-6)
    again = levit_tf.with_heads(average, "both")
    np.testing.assert_allclose(_run(again)["head_dist"], logits["head_dist"], rtol=1e-6)


def test_what_the_heads_cannot_do_is_refused():
    with pytest.raises(ValueError, match="classes must be a positive integer"):
        levit_tf.reset_classifier(_model(), 0)
    with pytest.raises(ValueError, match=r"list of names. Received the text 'labels\.txt'"):
        levit_tf.reset_classifier(_model(), "labels.txt")
    with pytest.raises(ValueError, match="has no distillation head"):
        levit_tf.with_heads(_model(heads="single"), "average")
    with pytest.raises(ValueError, match="has no classification heads"):
        levit_tf.with_heads(_model(include_top=False), "single")
    with pytest.raises(ValueError, match="is not a LeViT in train form"):
        levit_tf.reset_classifier(levit_tf.fuse(_model()), 3)
