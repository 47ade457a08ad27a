"""One `.keras` file of each kind, tiny, with what it answered when it was saved.

    python -m tests.support.saved_files FOLDER

`tests/saved_files/` has those that version 0.1.0 wrote on 2026-11-28, with Keras 3.15.1. Files of
today must load tomorrow: they are never written again, a later kind of file is added beside them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

import levit_tf
from converters.qat.qat_model import QuantizedModel
from tests.support.randomize import random_images, randomize_keras

SIZE = 32
ANSWERS = "answers.npz"  # of every file, by its name and a number
TAKE_PIXELS = ("transfer",)  # and not normalised ones


def tiny(**options) -> keras.Model:
    """A LeViT of some ten thousand parameters whose every variable matters."""
    variant = levit_tf.Variant("Fixture", (16, 24, 32), 8, (2, 3, 4), (1, 1, 1), stem_convs=3)
    model = levit_tf.LeViT(variant, input_shape=SIZE, **{"classes": 3, **options})
    randomize_keras(model)
    return model


def _named() -> keras.Model:
    return levit_tf.reset_classifier(tiny(), classes=["ant", "bee", "wasp"])


def _transfer() -> keras.Model:
    pixels = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels)
    x = tiny(include_top=False, pooling="avg")(x)
    return keras.Model(pixels, keras.layers.Dense(4, "softmax")(x))


def _quantized() -> QuantizedModel:
    return QuantizedModel(levit_tf.fuse(_named()), "int8", {"stem_conv1": (-1.5, 2.5)})


KINDS: dict[str, Callable[[], keras.Model | QuantizedModel]] = {
    "train-form": _named,
    "two-heads": lambda: tiny(heads="both"),
    "backbone": lambda: tiny(include_top=False),
    "fused": lambda: levit_tf.fuse(_named()),
    "transfer": _transfer,
    "trained-for-int8": _quantized,
}


def answers(model: keras.Model, kind: str) -> list[np.ndarray]:
    """What a model says of four pictures that are always the same; outputs in Keras' order."""
    pictures = random_images((SIZE, SIZE), 4)
    outputs = model(pictures * 60 + 120 if kind in TAKE_PIXELS else pictures)
    return [np.asarray(output) for output in keras.tree.flatten(outputs)]


def main(folder: str) -> None:
    """Writes every kind of file into a new folder."""
    Path(folder).mkdir()
    said = {}
    for name, make in KINDS.items():
        keras.utils.set_random_seed(0)
        made = make()
        made.save(Path(folder) / f"{name}.keras")
        model = made.model if isinstance(made, QuantizedModel) else made
        said |= {f"{name}/{number}": array for number, array in enumerate(answers(model, name))}
    np.savez_compressed(Path(folder) / ANSWERS, **said)


if __name__ == "__main__":
    main(*sys.argv[1:])
