"""Pictures of a network: what they are made of is checked in numbers, files for being there."""

import numpy as np
import pytest
from PIL import Image

import levit_tf
from levit_tf import visualize
from levit_tf.attention_bias import attention_bias_index
from levit_tf.drawing.attention_maps import attention_layers, attention_maps, bias_picture
from levit_tf.drawing.network_diagram import network_rows
from tests.support.commands import call
from tests.support.randomize import random_images, randomize_keras


@pytest.fixture(scope="module")
def model():
    model = levit_tf.LeViT("LeViTNano", classes=7, heads="both", input_shape=(64, 96, 3))
    randomize_keras(model)
    return model


def test_a_bias_picture_is_the_row_of_the_expanded_bias_around_its_query():
    table = np.random.default_rng(0).normal(size=(2, 12))
    expanded = table[:, attention_bias_index((3, 4))]  # (heads, queries, keys)
    picture = bias_picture(table[1], (3, 4))
    assert picture.shape == (5, 7)
    for y in range(3):
        for x in range(4):
            seen = picture[2 - y : 5 - y, 3 - x : 7 - x]  # the query in the picture's middle
            np.testing.assert_array_equal(seen, expanded[1, y * 4 + x].reshape(3, 4))


def test_attention_maps_are_those_of_an_independent_computation(model):
    image = random_images((64, 96), count=1)[0]
    maps = attention_maps(model, image, point=(0.3, 0.8))
    first = attention_layers(model)[0]
    x = levit_tf.feature_extractor(model)(image[None])["stem"].numpy().astype(np.float64)
    scale, shift = _batch_norm(first.qkv.bn)
    height, width = first.grid
    qkv = (x @ first.qkv.linear.kernel.numpy().astype(np.float64)) * scale + shift
    # (1, height, width, heads * n) -> (tokens, heads, n)
    qkv = qkv.reshape(height * width, first.num_heads, -1)
    q, k = qkv[..., : first.key_dim], qkv[..., first.key_dim : 2 * first.key_dim]
    query = int(0.3 * height) * width + int(0.8 * width)
    scores = np.einsum("hd,khd->hk", q[query], k) / np.sqrt(first.key_dim)
    bias = first.attention_biases.numpy()[:, attention_bias_index(first.grid)]
    weights = np.exp(scores + bias[:, query])
    weights /= weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        maps[first.name], weights.reshape(-1, height, width), rtol=1e-4, atol=1e-6
    )


def test_every_head_s_map_sums_to_one_also_where_tokens_are_subsampled(model):
    maps = attention_maps(model, random_images((64, 96), count=1)[0], point=(0.99, 0.0))
    layers = attention_layers(model)
    assert list(maps) == [layer.name for layer in layers]
    assert any(layer.stride == 2 for layer in layers)
    for layer in layers:
        assert maps[layer.name].shape == (layer.num_heads, *layer.grid)
        np.testing.assert_allclose(maps[layer.name].sum(axis=(1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"point": (1.0, 0.5)}, "point must be"),
        ({"image": np.zeros((64, 64, 3), np.float32)}, r"must have shape \(64, 96, 3\)"),
    ],
)
def test_a_place_outside_and_a_wrong_size_are_refused(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        attention_maps(model, **{"image": np.zeros((64, 96, 3), np.float32), **arguments})


def test_the_diagram_has_the_shapes_of_the_network():
    rows = network_rows(levit_tf.LeViT256(weights=None))
    assert ("stem", "3x3 convolution, stride 2, 32", "112 x 112 x 32") in rows
    assert ("stage", "4 x [attention, 4 heads of 32; MLP x2]", "14 x 14 x 256") in rows
    assert ("down", "subsampling attention, 8 heads of 32; MLP", "7 x 7 x 384") in rows
    assert rows[-1] == ("head", "class and distillation head", "1000 classes")


@pytest.mark.slow
def test_the_command_draws_the_network_and_each_picture(model, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    model.save(tmp_path / "model.keras")
    photo = tmp_path / "photo.png"
    Image.fromarray(np.arange(80 * 120 * 3, dtype=np.uint8).reshape(80, 120, 3)).save(photo)
    output = tmp_path / "pictures"
    arguments = [f"--model={tmp_path / 'model.keras'}", f"--output={output}", "--point=0.2,0.7"]
    assert call(visualize, [*arguments, str(photo)]) == 0
    names = ["attention-photo.png", "attention_biases.png", "network.png"]
    assert sorted(path.name for path in output.iterdir()) == names
    for name in names:
        assert np.asarray(Image.open(output / name)).std() > 5  # there is something in it
    assert capsys.readouterr().out.count("written:") == 3


@pytest.mark.slow
def test_a_fused_model_is_refused_and_nothing_is_written(model, tmp_path, capsys):
    levit_tf.fuse(model).save(tmp_path / "fused.keras")
    output = tmp_path / "pictures"
    assert call(visualize, [f"--model={tmp_path / 'fused.keras'}", f"--output={output}"]) == 1
    assert "not a LeViT in train form" in capsys.readouterr().err
    assert not output.exists()


def test_a_network_for_every_size_is_refused_and_nothing_is_written(model, tmp_path, capsys):
    levit_tf.with_input_size(model, None).save(tmp_path / "open.keras")
    output = tmp_path / "pictures"
    assert call(visualize, [f"--model={tmp_path / 'open.keras'}", f"--output={output}"]) == 1
    assert "levit_tf.with_input_size(model, (height, width))" in capsys.readouterr().err
    assert not output.exists()


def test_a_point_that_is_none_is_misuse(capsys):
    assert call(visualize, ["--model=x.keras", "--output=y", "--point=2,0"]) == 1
    assert "two shares in [0, 1)" in capsys.readouterr().err


def _batch_norm(bn):
    gamma, beta, mean, variance = (w.astype(np.float64) for w in bn.get_weights())
    scale = gamma / np.sqrt(variance + bn.epsilon)
    return scale, beta - mean * scale
