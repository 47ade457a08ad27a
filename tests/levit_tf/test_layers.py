"""Initialisation, BatchNorm constants and training behaviour of the layers."""

import keras
import numpy as np
import pytest

import levit_tf
from levit_tf.attention import Attention
from levit_tf.layers import ConvBN, DropPath
from tests.support.cases import slow


@pytest.fixture(scope="module")
def levit128s():
    keras.utils.set_random_seed(0)
    return levit_tf.LeViT("LeViT128S", heads="both")


def _variables(model, ending):
    return {w.path: keras.ops.convert_to_numpy(w) for w in model.weights if w.path.endswith(ending)}


def test_only_the_last_batch_norm_of_each_residual_branch_starts_at_zero(levit128s):
    for path, gamma in _variables(levit128s, "/gamma").items():
        layer, sub_layer = path.split("/")[:2]
        # The subsampling attention is no residual branch, its projection starts at one.
        is_last_of_branch = sub_layer == "ln2" or (
            sub_layer == "proj" and not layer.endswith("_downsample_attn")
        )
        assert (gamma == (0 if is_last_of_branch else 1)).all(), path


def test_attention_biases_start_at_zero(levit128s):
    tables = _variables(levit128s, "/attention_biases")
    assert len(tables) == 2 + 3 + 4 + 2
    assert not any(table.any() for table in tables.values())


def test_kernels_are_distributed_as_in_the_reference(levit128s):
    for path, kernel in _variables(levit128s, "/kernel").items():
        if path.startswith("classifier/"):
            # trunc_normal_(std=0.02), cut at an absolute value of 2: a plain normal.
            assert kernel.std() == pytest.approx(0.02, rel=0.02), path
            assert np.abs(kernel).max() > 2.5 * 0.02, path
        else:
            # PyTorch's default: uniform within 1 / sqrt(fan_in).
            bound = np.prod(kernel.shape[:-1]) ** -0.5
            assert np.abs(kernel).max() <= bound, path
            assert kernel.std() == pytest.approx(bound / 3**0.5, rel=0.1), path


def test_batch_norm_has_pytorchs_constants(levit128s):
    layers = [
        layer
        for layer in levit128s._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert len(layers) == len(_variables(levit128s, "/gamma"))
    assert {(layer.epsilon, layer.momentum) for layer in layers} == {(1e-5, 0.9)}


def test_the_stem_pads_one_pixel_on_every_side():
    layer = ConvBN(1)
    layer.build((1, 4, 4, 1))
    layer.linear.set_weights([np.ones((3, 3, 1, 1), np.float32)])
    response = keras.ops.convert_to_numpy(layer(np.ones((1, 4, 4, 1), np.float32)))
    # The first window of each direction hangs over the edge and sees 2 of its 3 pixels; the last
    # does not. padding="same" would have it the other way round.
    expected = np.array([[4, 6], [6, 9]]) / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(response[0, :, :, 0], expected, rtol=1e-6)


def test_drop_path_drops_whole_samples_in_training_only():
    layer = DropPath(0.25, seed=0)
    x = np.ones((4000, 2, 3, 5), np.float32)
    np.testing.assert_array_equal(layer(x, training=False), x)
    y = keras.ops.convert_to_numpy(layer(x, training=True)).reshape(len(x), -1)
    assert (y == y[:, :1]).all()
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    assert (y[:, 0] == 0).mean() == pytest.approx(0.25, abs=0.02)


def test_training_mode_normalises_by_the_batch_and_moves_the_statistics():
    model = levit_tf.LeViT("LeViTNano", heads="both", classes=3)
    images = np.random.default_rng(0).normal(size=(8, 64, 64, 3)).astype(np.float32)
    before = model.get_layer("stem_conv1").bn.get_weights()[2]
    inference, training = (
        keras.ops.convert_to_numpy(model(images, training=mode)["head"]) for mode in (False, True)
    )
    assert np.abs(inference - training).max() > 1e-3
    after = model.get_layer("stem_conv1").bn.get_weights()[2]
    assert np.abs(after - before).max() > 0


def test_attention_needs_a_fixed_grid():
    layer = Attention(num_heads=2, key_dim=4, value_dim=8, output_dim=16)
    with pytest.raises(
        ValueError, match=r"fixed height and width, or a table_grid. Received: .* \(None, 4\)"
    ):
        layer.build((None, None, 4, 16))


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_mixed_precision_model_keeps_its_policy_in_the_file(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        model = levit_tf.LeViT("LeViTNano", classes=3)
    finally:
        keras.config.set_dtype_policy("float32")
    model.save(tmp_path / "mixed.keras")
    loaded = keras.models.load_model(tmp_path / "mixed.keras")
    qkv = loaded.get_layer("stages_0_blocks_0_attn").qkv
    assert qkv.linear.compute_dtype == policy.removeprefix("mixed_")
    assert qkv.linear.kernel.dtype == "float32"
    assert keras.backend.standardize_dtype(loaded.output.dtype) == "float32"


@pytest.mark.parametrize("rebuild", ["from_config", slow("clone_model")])
def test_layers_that_were_frozen_are_frozen_in_a_network_that_is_made_again(rebuild):
    model = levit_tf.LeViT("LeViTNano", classes=3)
    for layer in model.layers:
        layer.trainable = not layer.name.startswith(("stem", "stages_0", "classifier"))
    if rebuild == "from_config":
        again = keras.Model.from_config(model.get_config())
    else:
        again = keras.models.clone_model(model)
    trained = [variable.path for variable in model.trainable_variables]
    assert 0 < len(trained) < len(model.variables)
    assert [variable.path for variable in again.trainable_variables] == trained
