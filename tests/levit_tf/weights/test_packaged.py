"""Weights that come with the package: no network, ten classes, and answers that are right."""

import keras
import numpy as np
import pytest

import levit_tf
from levit_common.choices import HEADS
from levit_tf.prediction.predictor import load_predictor
from levit_tf.weights import packaged
from tests.support import commands
from tests.support.randomize import randomize_keras

NAMES = ["tench", "English_springer", "cassette_player", "chain_saw", "church"]
IMAGES = np.random.default_rng(0).normal(size=(3, 80, 80, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def mini():
    return levit_tf.LeViTMini()


def test_a_small_network_with_its_classes_comes_with_the_package(mini):
    properties = levit_tf.model_properties(mini)
    assert mini.output_shape == (None, 10)
    assert list(properties.class_names[:5]) == NAMES
    assert properties.input_size == (80, 80)
    assert properties.origin == "LeViTMini trained on Imagenette"
    assert levit_tf.LeViT("LeViTMini", classes=10, heads="single").count_params() <= 1_200_000
    path = packaged.importlib.resources.files("levit_tf.weights") / "files"
    assert sum(file.stat().st_size for file in path.iterdir()) <= 2_500_000


def test_it_is_no_untrained_network(mini):
    variances = [w for w in mini.weights if w.path.endswith("moving_variance")]
    assert all(np.abs(np.array(w) - 1).max() > 1e-3 for w in variances)
    assert np.ptp(mini.predict(IMAGES, verbose=0), axis=1).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("heads", HEADS)
def test_its_one_head_stands_for_both(mini, heads):
    model = levit_tf.LeViT(
        "LeViTMini", weights="imagenette", heads=heads, classifier_activation=None
    )
    expected = levit_tf.with_heads(mini, "single", None)(IMAGES)
    for logits in keras.tree.flatten(model(IMAGES)):
        np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_a_backbone_and_another_size_take_them(mini):
    model = levit_tf.LeViT(
        "LeViTMini", weights="imagenette", include_top=False, pooling="avg", input_shape=96
    )
    assert model.output_shape == (None, 160)
    name = "stages_2_blocks_1_mlp"
    np.testing.assert_array_equal(
        model.get_layer(name).get_weights()[0], mini.get_layer(name).get_weights()[0]
    )


def test_what_was_written_is_read(tmp_path, monkeypatch):
    model = levit_tf.LeViT("LeViTMini", classes=10, heads="single")
    randomize_keras(model)
    names = [f"class {n}" for n in range(10)]
    arrays = {weight.path: np.array(weight) for weight in model.weights}
    (tmp_path / "files").mkdir()
    packaged.write_packaged(tmp_path / "files" / "LeViTMini-imagenette.npz", arrays, names)
    monkeypatch.setattr(packaged.importlib.resources, "files", lambda package: tmp_path)
    found = levit_tf.LeViT("LeViTMini", weights="imagenette", heads="single")
    assert list(levit_tf.model_properties(found).class_names) == names
    for one, other in zip(found.weights, model.weights, strict=True):
        tolerance = 1e-3 if len(one.shape) > 1 else 0  # half precision, for kernels only
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=1e-6)


def test_they_fit_their_variant_and_classes_only():
    with pytest.raises(ValueError, match=r"'imagenette' are those of LeViTMini.*LeViT128S"):
        levit_tf.LeViT128S(weights="imagenette")
    with pytest.raises(ValueError, match=r"has 10 classes. Received: classes=5.*reset_classifier"):
        levit_tf.LeViTMini(classes=5)
    with pytest.raises(ValueError, match=r"3 channels.*input of 1"):
        levit_tf.LeViTMini(input_shape=(80, 80, 1))


def test_the_tools_take_its_name():
    predictor = load_predictor("LeViTMini")
    assert (predictor.input_size, predictor.classes) == ((80, 80), 10)
    assert predictor.class_names[:5] == NAMES


@pytest.mark.slow
def test_it_names_what_is_on_a_photograph(tmp_path, capsys):
    from levit_tf import classify

    path = tmp_path / "a photo.png"
    keras.utils.save_img(path, np.full((60, 90, 3), 128, np.uint8))
    assert commands.call(classify, ["--model=LeViTMini", path]) == 0
    assert "%" in capsys.readouterr().out
