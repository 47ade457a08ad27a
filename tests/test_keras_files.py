"""`.keras` files from anywhere: loaded without their code, or refused by name."""

import os
import zipfile

import keras
import numpy as np
import pytest

import levit_tf
from levit_tf.keras_files import ModelFileError, load_keras_file


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
        "archive.keras": "Keras cannot load it",
        "half.keras": "truncated, or not a .keras file",
        "text.keras": "truncated, or not a .keras file",
        "empty.keras": "truncated, or not a .keras file",
        "levit.h5": "truncated, or not a .keras file",
    }.items():
        with pytest.raises(ModelFileError, match=f"{name}: {reason}"):
            load_keras_file(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"missing\.keras: no such file"):
        load_keras_file(tmp_path / "missing.keras")


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
