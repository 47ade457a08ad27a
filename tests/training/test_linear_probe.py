"""A new head on a network that stays as it is: what it learns, and what it cannot."""

import re

import keras
import numpy as np
import pytest

import levit_tf
from levit_tf.keras_graph.introspection import classifier_of
from tests.support import commands
from tests.support.randomize import randomize_keras
from tests.support.training.data_cases import broken_png, write_folder
from training import linear_probe, probe
from training.probe import Features, fit, with_head

CHANNELS = 6
NAMES = ["ant", "bee", "cat"]


def clouds(classes=3, count=40, seed=0):
    """Features of well separated classes."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, CHANNELS)) * 4
    labels = np.repeat(np.arange(classes), count)
    points = centres[labels] + rng.normal(size=(len(labels), CHANNELS)) + 100
    test = rng.permutation(len(labels))[: 2 * count]
    points = points.astype(np.float32)
    return Features(points, labels, points[test] + 0.01, labels[test])


def test_separate_classes_are_separated():
    features = clouds()
    found = fit(features, NAMES)
    assert (found.logits(features.test).argmax(1) == features.test_labels).mean() > 0.98
    assert found.strength in probe.STRENGTHS
    assert "held back" in found.why


def test_the_held_out_pictures_are_not_looked_at():
    features = clouds()
    other = Features(
        features.train, features.train_labels, features.test * 0, features.test_labels[::-1]
    )
    np.testing.assert_array_equal(fit(features, NAMES).kernel, fit(other, NAMES).kernel)


@pytest.fixture(scope="module")
def network():
    model = levit_tf.LeViT("LeViTTiny", classes=10)
    randomize_keras(model)
    return model


@pytest.mark.parametrize("classes", [2, 3])
def test_the_head_says_what_the_regression_says(network, classes):
    from sklearn.linear_model import LogisticRegression

    images = np.random.default_rng(1).normal(size=(30, 32, 32, 3)).astype(np.float32)
    x = np.array(probe.feature_model(network)(images))
    y = np.arange(30) % classes
    features = Features(x, y, x, y)
    model = with_head(network, fit(features, NAMES[:classes], strength=0.5), NAMES[:classes])
    standard = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    expected = LogisticRegression(C=0.5, max_iter=1000).fit(standard, y).predict_proba(standard)
    np.testing.assert_allclose(model(images), expected, atol=1e-3)
    assert list(levit_tf.model_properties(model).class_names) == NAMES[:classes]
    name = "stages_0_blocks_0_mlp"
    np.testing.assert_array_equal(
        model.get_layer(name).get_weights()[0], network.get_layer(name).get_weights()[0]
    )
    assert classifier_of(model).head_dist is None


def test_one_class_or_one_picture_a_class_is_said():
    one = clouds(classes=1)
    with pytest.raises(ValueError, match="One class, 'ant': a classifier needs two"):
        fit(one, NAMES[:1])
    few = clouds(count=1)
    assert "too few to choose by" in fit(few, NAMES).why
    with pytest.raises(ValueError, match="class 'cow': no training picture"):
        fit(clouds(), [*NAMES, "cow"])


@pytest.mark.slow
def test_the_command_fits_keeps_features_and_writes_a_model(network, tmp_path, capsys):
    network.save(tmp_path / "backbone 1.keras")
    arguments = [
        f"--model={tmp_path / 'backbone 1.keras'}",
        "--dataset=digits",
        f"--features={tmp_path / 'features.npz'}",
    ]
    output = tmp_path / "mine.keras"
    assert commands.call(linear_probe, [*arguments, f"--output={output}"]) == 0
    first = capsys.readouterr().out
    top1 = float(re.search(r"top-1: ([\d.]+) % \(standard error", first)[1])
    assert top1 > 50  # of ten digits, on features of a random network
    assert commands.call(linear_probe, [*arguments, f"--output={output}", "--overwrite"]) == 0
    again = capsys.readouterr().out
    assert "read from" in again
    assert f"top-1: {top1} %" in again

    from training.data import load_data

    images, labels = load_data("digits", input_size=(32, 32)).test_images()
    model = keras.models.load_model(output)
    found = model.predict(levit_tf.preprocess_input(images), verbose=0)
    assert 100 * (found.argmax(1) == labels).mean() == pytest.approx(top1, abs=0.3)


@pytest.mark.slow
def test_features_of_another_network_are_not_taken(network, tmp_path, capsys):
    from training.data import load_data

    data = load_data("digits", input_size=(32, 32))
    cache = tmp_path / "features.npz"
    first, is_known = probe.compute_features(network, data, 256, cache)
    assert not is_known
    other = levit_tf.LeViT("LeViTTiny", classes=10)
    second, is_known = probe.compute_features(other, data, 256, cache)
    assert not is_known
    assert np.abs(first.train - second.train).max() > 0.1
    cache.write_bytes(cache.read_bytes()[:1000])
    again, is_known = probe.compute_features(other, data, 256, cache)
    assert not is_known
    np.testing.assert_array_equal(again.train, second.train)


@pytest.mark.parametrize("kind", ["arrays", "text"])
def test_a_file_of_others_is_not_replaced_by_features(network, tmp_path, kind):
    from training.data import load_data

    cache = tmp_path / "features.npz"
    if kind == "arrays":
        np.savez(cache, train=np.zeros(3))
    else:
        cache.write_text("notes")
    before = cache.read_bytes()
    data = load_data("digits", input_size=(32, 32))
    with pytest.raises(FileExistsError, match=r"features\.npz: holds no features"):
        probe.compute_features(network, data, 256, cache)
    assert cache.read_bytes() == before


def test_what_is_no_backbone_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"x.keras: no such file. Expected a .keras"):
        probe.load_backbone(str(tmp_path / "x.keras"))
    with pytest.raises(ValueError, match="LeViT9: no such file, and no variant"):
        probe.load_backbone("LeViT9")


def test_strict_names_the_damaged_picture(network, tmp_path, capsys):
    network.save(tmp_path / "backbone.keras")
    pictures = write_folder(tmp_path / "pictures", 2, parts=("train", "test"))
    (pictures / "train" / "ant" / "01.jpg").write_bytes(broken_png(51))
    arguments = [f"--model={tmp_path / 'backbone.keras'}", f"--dataset=imagefolder:{pictures}"]
    output = f"--output={tmp_path / 'mine.keras'}"
    assert commands.call(linear_probe, [*arguments, output, "--strict"]) == 1
    errors = capsys.readouterr().err
    assert "train/ant/01.jpg: truncated or damaged" in errors.splitlines()[-1]
