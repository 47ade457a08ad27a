"""Writes, on one Keras backend, a model with its outputs; checks them on another.

    python -m tests.backend_parity --write=FOLDER
    KERAS_BACKEND=jax python -m tests.backend_parity --check=FOLDER

Train form and fused form, a paper variant and the tiny ones; `make test-backends` runs both. The
check also fails if TensorFlow was imported, which the core must not need.
"""

import argparse
import pathlib
import sys

import keras
import numpy as np

import levit_tf
from tests.support.randomize import randomize_keras

VARIANTS = {"LeViT128S": (224, 224), "LeViTNano": (80, 112), "LeViTTiny": (32, 32)}
TOLERANCE = 1e-5  # of the largest absolute logit


def _images(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)


def _logits(model: keras.Model, size: tuple[int, int]) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(_images(size), training=False))


def write(folder: pathlib.Path) -> None:
    """Writes for each variant both forms as `.keras` and the logits as `.npy`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, size in VARIANTS.items():
        model = levit_tf.LeViT(name, input_shape=(*size, 3), classifier_activation=None)
        randomize_keras(model)
        model.save(folder / f"{name}.keras")
        levit_tf.fuse(model).save(folder / f"{name}-fused.keras")
        np.save(folder / f"{name}.npy", _logits(model, size))


def check(folder: pathlib.Path) -> bool:
    """Loads what `write` wrote and prints each relative error; true if all are small."""
    passed = True
    for name, size in VARIANTS.items():
        expected = np.load(folder / f"{name}.npy")
        for file in (f"{name}.keras", f"{name}-fused.keras"):
            found = _logits(keras.models.load_model(folder / file), size)
            error = np.abs(found - expected).max() / np.abs(expected).max()
            print(f"{keras.backend.backend()}: {file}: relative error {error:.1e}")
            passed = passed and error <= TOLERANCE
    if keras.backend.backend() != "tensorflow" and "tensorflow" in sys.modules:
        print("TensorFlow was imported on another backend")
        passed = False
    return passed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=pathlib.Path)
    parser.add_argument("--check", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.write:
        write(arguments.write)
    if arguments.check and not check(arguments.check):
        sys.exit(1)
