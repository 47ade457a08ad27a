"""transfer_weights(): what may differ is carried over and reported, anything else is an error."""

import functools

import keras
import numpy as np
import pytest

import levit_tf
from tests.support.cases import slow
from tests.support.randomize import randomize_keras


def _model(variant="LeViTNano", **kwargs):
    model = levit_tf.LeViT(variant, **kwargs)
    randomize_keras(model)
    return model


@functools.cache
def _shared():
    """A network for all tests, not to be changed."""
    return _model()


def _values(model):
    return {w.path: keras.ops.convert_to_numpy(w) for w in model.weights}


def test_the_same_network_is_copied_whole():
    source, target = _shared(), levit_tf.LeViT("LeViTNano")
    report = levit_tf.transfer_weights(source, target)
    assert sorted(report.copied) == sorted(w.path for w in target.weights)
    assert report.adapted + report.initialised + report.dropped + [*report.resized] == []
    found = _values(target)
    for path, value in _values(source).items():
        np.testing.assert_array_equal(found[path], value)


@pytest.mark.parametrize("size", [slow((96, 96)), (64, 96)])
def test_another_input_size_resizes_every_bias_table_and_nothing_else(size):
    source = _shared()
    target = levit_tf.LeViT("LeViTNano", input_shape=(*size, 3))
    report = levit_tf.transfer_weights(source, target)
    tables = [w.path for w in target.weights if w.path.endswith("attention_biases")]
    grids = target.get_layer("stages_0_blocks_0_attn").grid, (4, 4)
    assert grids[0] == (size[0] // 16, size[1] // 16)
    assert sorted(report.resized) == sorted(tables)
    assert len(report.copied) == len(target.weights) - len(tables)
    before, after = _values(source), _values(target)
    path = "stages_0_blocks_0_attn/attention_biases"
    # The corners of each head's table stay where they are.
    old, new = before[path].reshape(-1, *grids[1]), after[path].reshape(-1, *grids[0])
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        np.testing.assert_allclose(new[:, *corner], old[:, *corner], rtol=1e-6)
    images = np.zeros((1, *size, 3), np.float32)
    assert np.isfinite(keras.ops.convert_to_numpy(target(images))).all()


@pytest.mark.slow
def test_tables_of_equal_length_on_another_grid_are_resized():
    source = _model(input_shape=(64, 256, 3))  # 4 x 16 tokens
    target = levit_tf.LeViT("LeViTNano", input_shape=(128, 128, 3))  # 8 x 8
    report = levit_tf.transfer_weights(source, target)
    assert "stages_0_blocks_0_attn/attention_biases" in report.resized


def test_other_classes_leave_the_heads_as_initialised():
    source, target = _shared(), levit_tf.LeViT("LeViTNano", classes=3)
    fresh = _values(target)
    report = levit_tf.transfer_weights(source, target)
    heads = [w.path for w in target.weights if w.path.startswith("classifier/")]
    assert sorted(report.initialised) == sorted(report.dropped) == sorted(heads)
    found = _values(target)
    for path in report.initialised:
        np.testing.assert_array_equal(found[path], fresh[path])


def test_heads_may_be_added_and_dropped():
    with_top, headless = _shared(), levit_tf.LeViT("LeViTNano", include_top=False)
    report = levit_tf.transfer_weights(with_top, headless)
    assert len(report.dropped) == 12
    single = levit_tf.LeViT("LeViTNano", heads="single")
    assert len(levit_tf.transfer_weights(with_top, single).dropped) == 6
    assert len(levit_tf.transfer_weights(headless, single).initialised) == 6


@pytest.mark.parametrize("channels", [1, slow(4), slow(6)])
def test_other_channels_adapt_the_first_kernel(channels):
    source = _shared()
    target = levit_tf.LeViT("LeViTNano", input_shape=(64, 64, channels))
    report = levit_tf.transfer_weights(source, target)
    assert report.adapted == ["stem_conv1/linear/kernel"]
    old = _values(source)["stem_conv1/linear/kernel"]
    new = _values(target)["stem_conv1/linear/kernel"]
    assert new.shape[2] == channels
    if channels != 4:
        # A grey picture in every channel gives the response it gave before.
        np.testing.assert_allclose(new.sum(axis=2), old.sum(axis=2), rtol=1e-4, atol=1e-6)


def test_another_variant_is_refused_with_every_difference_and_nothing_is_changed():
    source, target = _model("LeViTTiny", input_shape=(64, 64, 3)), levit_tf.LeViT("LeViTNano")
    before = _values(target)
    with pytest.raises(ValueError, match="Nothing was loaded") as error:
        levit_tf.transfer_weights(source, target)
    assert "  stem_conv4/linear/kernel, shape (3, 3, 16, 32)" in str(error.value)
    assert "  stages_0_blocks_0_attn/qkv/linear/kernel: (48, 192), the model needs" in str(
        error.value
    )
    found = _values(target)
    for path, value in before.items():
        np.testing.assert_array_equal(found[path], value)


def test_the_report_reads_as_text():
    report = levit_tf.transfer_weights(_shared(), levit_tf.LeViT("LeViTNano", classes=3))
    assert str(report).splitlines()[0] == f"copied: {len(report.copied)} variables"
    assert "freshly initialised: classifier/head/bn/gamma" in str(report)


@pytest.mark.slow
def test_a_single_head_becomes_the_class_head_of_two():
    source, target = _model(heads="single"), levit_tf.LeViT("LeViTNano", heads="both")
    report = levit_tf.transfer_weights(source, target)
    assert {path.split("/")[1] for path in report.initialised} == {"head_dist"}
    path = "classifier/head/linear/kernel"
    np.testing.assert_array_equal(_values(target)[path], _values(source)[path])


@pytest.mark.slow
def test_the_source_may_be_a_file(tmp_path):
    source, target = _shared(), levit_tf.LeViT("LeViTNano")
    source.save(tmp_path / "source.keras")
    levit_tf.transfer_weights(tmp_path / "source.keras", target)
    for one, other in zip(source.weights, target.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_no_model_is_refused_by_its_type(tmp_path):
    with pytest.raises(TypeError, match=r"target must be a Keras model\. Received: str"):
        levit_tf.transfer_weights(_shared(), "levit.keras")
    with pytest.raises(TypeError, match=r"source must be a Keras model\. Received: NoneType"):
        levit_tf.transfer_weights(None, _shared())
    with pytest.raises(FileNotFoundError, match="no such file"):
        levit_tf.transfer_weights(tmp_path / "none.keras", _shared())
