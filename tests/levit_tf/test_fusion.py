"""The deploy graph computes what the train form computes, with built-in layers only."""

import functools
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import levit_tf
from levit_tf import layers as levit_layers
from tests.support.cases import slow
from tests.support.randomize import randomize_keras

TOLERANCE = 1e-5  # of the largest absolute value


def _model(variant="LeViTNano", **kwargs):
    model = levit_tf.LeViT(variant, **kwargs)
    randomize_keras(model)
    return model


@functools.cache
def _shared():
    """A network for all tests, not to be changed."""
    return _model()


SILU = levit_tf.Variant("SiLU", (32, 48, 64), 8, (2, 3, 4), (1, 1, 1), 3, activation="silu")


def _outputs(model, batch=3):
    shape = (batch, *model.input_shape[1:])
    images = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return keras.tree.map_structure(keras.ops.convert_to_numpy, model(images, training=False))


def _assert_equal(model, fused):
    def check(expected, found):
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()

    keras.tree.map_structure(check, _outputs(model), _outputs(fused))


@pytest.mark.parametrize(
    "arguments",
    [
        {"heads": "both"},
        {"input_shape": (80, 112, 1), "drop_path_rate": 0.3, "classifier_activation": None},
        slow({"heads": "single", "classes": 7}),
        slow({"include_top": False, "pooling": "max"}),
        slow({"variant": SILU, "input_shape": (32, 32, 3), "classifier_activation": None}),
        slow({"classifier_activation": None}),
        slow({"include_top": False}),
        slow({"input_shape": (96, 160, 3), "classifier_activation": None}),
        slow({"variant": "LeViTTiny", "classifier_activation": None}),
        slow({"variant": "LeViT128S", "classifier_activation": None}),
        slow({"variant": "LeViT384S8", "input_shape": (64, 64, 3), "classifier_activation": None}),
    ],
    ids=str,
)
def test_fusing_changes_nothing_but_rounding(arguments):
    model = _model(**arguments)
    fused = levit_tf.fuse(model)
    _assert_equal(model, fused)
    assert fused.name == model.name
    assert fused.input.name == model.input.name


def test_every_layer_of_a_fused_model_is_keras_own():
    fused = levit_tf.fuse(_shared())
    assert {type(layer).__module__.split(".")[0] for layer in fused.operations} == {"keras"}
    assert not any("batch_norm" in layer.name or "bn" in layer.name for layer in fused.layers)


@pytest.mark.slow
def test_a_fused_file_loads_where_levit_tf_cannot_be_imported(tmp_path):
    model = _shared()
    path = tmp_path / "fused.keras"
    levit_tf.fuse(model).save(path)
    np.save(tmp_path / "expected.npy", _outputs(model))
    script = f"""
import sys, numpy as np, keras
try:
    import levit_tf
    sys.exit("levit_tf is importable: the test shows nothing")
except ImportError:
    pass
model = keras.models.load_model({str(path)!r})
images = np.random.default_rng(0).normal(size=(3, 64, 64, 3)).astype(np.float32)
found = keras.ops.convert_to_numpy(model(images, training=False))
expected = np.load({str(tmp_path / "expected.npy")!r})
assert np.abs(found - expected).max() <= {TOLERANCE} * np.abs(expected).max()
"""
    # -P and an empty folder keep this checkout off the path; the finder of an editable install is
    # taken away by hand.
    hide = (
        "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in repr(f)]\n"
    )
    hide += "sys.path[:] = [p for p in sys.path if 'site-packages' in p or 'lib/python' in p]\n"
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-P", "-c", hide + script],
        cwd=empty,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_feature_extractors_and_models_with_other_layers_fuse_too():
    backbone = _model(include_top=False)
    features = levit_tf.feature_extractor(backbone)
    _assert_equal(features, levit_tf.fuse(features))

    x = keras.layers.Flatten()(backbone.output)
    own = keras.Model(backbone.input, keras.layers.Dense(4, name="own_head")(x))
    fused = levit_tf.fuse(own)
    _assert_equal(own, fused)
    fused.get_layer("own_head").kernel.assign(fused.get_layer("own_head").kernel * 0)
    assert np.abs(keras.ops.convert_to_numpy(own.get_layer("own_head").kernel)).max() > 0


@pytest.mark.slow
def test_a_mixed_precision_model_is_fused_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = _model(classes=3)
    finally:
        keras.config.set_dtype_policy("float32")
    fused = levit_tf.fuse(model)
    assert {layer.compute_dtype for layer in fused.layers} == {"float32"}


def test_fusing_leaves_the_model_as_it_was():
    model = _shared()
    before = model.get_weights()
    levit_tf.fuse(model)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_what_cannot_be_fused_says_why():
    with pytest.raises(ValueError, match="fused already, or no LeViT"):
        levit_tf.fuse(levit_tf.fuse(_shared()))
    with pytest.raises(ValueError, match=r"functional keras\.Model or .* Received: str"):
        levit_tf.fuse("levit.keras")
    image = keras.Input((8, 8, 3))
    shared = levit_layers.MLP(6, 3, name="shared")
    with pytest.raises(ValueError, match="'shared' is called more than once"):
        levit_tf.fuse(keras.Model(image, shared(shared(image))))


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_a_network_that_keras_has_quantised_is_refused():
    model = levit_tf.LeViT("LeViTTiny", classes=3)
    model.quantize("int8")
    with pytest.raises(ValueError, match=r"quantised by Keras' model.quantize \(stages_0.* int8"):
        levit_tf.fuse(model)
