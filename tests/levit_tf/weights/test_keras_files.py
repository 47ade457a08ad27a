"""`.keras` files from anywhere: loaded without their code, or refused by name."""

import os
import zipfile

import keras
import numpy as np
import pytest

import levit_tf
from converters.verify import open_artefact
from levit_tf.prediction.predictor import load_predictor
from levit_tf.weights.keras_files import ModelFileError, load_keras_file, model_path


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "levit.keras"
    levit_tf.LeViT("LeViTTiny", classes=3).save(path)
    return path


def test_a_whole_file_is_loaded(saved):
    assert load_keras_file(saved).output.shape == (None, 3)


def test_what_is_no_keras_file_is_refused_by_name(saved, tmp_path):
    with zipfile.ZipFile(tmp_path / "archive.keras", "w") as archive:
        archive.writestr("readme", "a zip archive of something else")
    content = saved.read_bytes()
    (tmp_path / "half.keras").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.keras").write_text("not a model")
    (tmp_path / "empty.keras").touch()
    (tmp_path / "levit.h5").write_bytes(content)
    for name, reason in {
        "archive.keras": "not a .keras file",
        "half.keras": "truncated, or not a .keras file",
        "text.keras": "truncated, or not a .keras file",
        "empty.keras": "truncated, or not a .keras file",
        "levit.h5": "truncated, or not a .keras file",
    }.items():
        with pytest.raises(ModelFileError, match=f"{name}: {reason}"):
            load_keras_file(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"missing\.keras: no such file"):
        load_keras_file(tmp_path / "missing.keras")


@pytest.mark.slow
def test_the_folder_of_a_run_stands_for_its_final_network(saved, tmp_path, capsys):
    run = tmp_path / "runs" / "a"
    run.mkdir(parents=True)
    with pytest.raises(ModelFileError, match="a: a folder, and none of a run"):
        load_keras_file(run)
    (run / "config.json").write_text("{}")
    with pytest.raises(ModelFileError, match=r"not finished.*It has none yet"):
        load_keras_file(run)
    saved.rename(run / "best.keras")
    with pytest.raises(ModelFileError, match=r"not finished.*so far is .*a/best\.keras"):
        load_keras_file(run)
    levit_tf.LeViT("LeViTTiny", classes=4).save(run / "final.keras")
    (run / "labels.txt").write_text("a\nb\nc\nd\n")
    assert load_keras_file(run).output.shape == (None, 4)
    assert f"taken: {run / 'final.keras'}" in capsys.readouterr().err
    assert load_predictor(run).class_names == list("abcd")
    assert open_artefact(run).network.classes == 4
    loaded = levit_tf.LeViT("LeViTTiny", classes=4, weights=run)
    np.testing.assert_array_equal(loaded.weights[0], load_keras_file(run).weights[0])


def test_a_saved_model_is_no_folder_of_a_run(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    (tmp_path / "final.keras").touch()
    assert model_path(tmp_path) == str(tmp_path)


@pytest.mark.parametrize(
    ("metadata", "hint"),
    [
        ('{"keras_version": "9.1.0"}', r"saved by Keras 9\.1\.0; this is Keras 3"),
        (f'{{"keras_version": "{keras.__version__}"}}', None),
        ('{"keras_version": ["9"]}', None),
        ("[", None),
    ],
)
def test_a_file_of_another_keras_that_cannot_be_loaded_says_so(tmp_path, metadata, hint):
    class Own(keras.layers.Layer):
        def call(self, x):
            return x

    image = keras.Input((2,))
    keras.Model(image, Own()(image)).save(tmp_path / "own.keras")
    with (
        zipfile.ZipFile(tmp_path / "own.keras") as old,
        zipfile.ZipFile(tmp_path / "other.keras", "w") as new,
    ):
        for name in old.namelist():
            new.writestr(name, metadata if name == "metadata.json" else old.read(name))
    with pytest.raises(ModelFileError, match=f"Keras cannot load it.*{hint or ''}") as found:
        load_keras_file(tmp_path / "other.keras")
    assert ("saved by" in str(found.value)) == (hint is not None)


def test_code_in_a_file_does_not_run(tmp_path):
    ran = str(tmp_path / "ran")
    image = keras.Input((2,))
    layer = keras.layers.Lambda(lambda x: (open(ran, "w").close(), x)[1], output_shape=(2,))
    keras.Model(image, layer(image)).save(tmp_path / "lambda.keras")
    # The file would run its code if it were let.
    keras.saving.load_model(tmp_path / "lambda.keras", safe_mode=False)(np.zeros((1, 2)))
    os.remove(ran)
    with pytest.raises(ModelFileError, match="Keras cannot load it"):
        load_keras_file(tmp_path / "lambda.keras")
    assert not os.path.exists(ran)
