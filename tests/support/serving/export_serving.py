"""A small served model: a tiny LeViT, randomised, exported into a repository folder."""

from __future__ import annotations

import atexit
import fcntl
import functools
import os
import pickle
import shutil
import tempfile
from pathlib import Path

import keras
import numpy as np

import levit_tf
from serving.export.exporting import Export, export
from serving.tensorflow_c.c_api import SavedModelSession
from tests.support.randomize import randomize_keras
from tests.support.shared_folder import SHARED_FOLDER

SIZE = (64, 96)  # height and width, of which a tenth is cropped away
CLASSES = 7
CLASS_NAMES = [f"Klasse ä{n}" for n in range(CLASSES)]


@functools.cache
def small_model(seed: int = 0) -> keras.Model:
    """For the same seed always the same model, not to be changed."""
    keras.utils.set_random_seed(seed)
    model = levit_tf.LeViT("LeViTNano", input_shape=(*SIZE, 3), classes=CLASSES, weights=None)
    randomize_keras(model, seed)
    return model


def export_small(
    repository: str | os.PathLike, name: str = "levit", seed: int = 0, **kwargs
) -> Export:
    """Exports `small_model(seed)` as a version of `name`; see `serving.export.export`."""
    kwargs.setdefault("class_names", CLASS_NAMES)
    return export(small_model(seed), name, repository, **kwargs)


@functools.cache
def shared_export() -> Export:
    """One export for all tests of a run, in whatever process they are; not to be changed."""
    folder = os.environ.get(SHARED_FOLDER)
    if not folder:
        folder = tempfile.mkdtemp(prefix="levit-serving-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    kept = Path(folder, "export.pickle")
    with open(kept.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed
        if not kept.exists():
            kept.write_bytes(pickle.dumps(export_small(Path(folder, "models"))))
    return pickle.loads(kept.read_bytes())


@functools.cache
def shared_session() -> SavedModelSession:
    """The session of `shared_export`."""
    return SavedModelSession(shared_export().path)


def ask(session: SavedModelSession, signature: str, values) -> dict[str, np.ndarray]:
    """All outputs of a signature by name, for an array or for a list of bytes."""
    signature_def = session.signature_defs[signature]
    (tensor,) = (info.name for info in signature_def.inputs.values())
    if not isinstance(values, np.ndarray):
        values = np.array([*values, None], object)[:-1]  # of equal lengths, too
    outputs = list(signature_def.outputs)
    found = session.run({tensor: values}, [signature_def.outputs[name].name for name in outputs])
    return dict(zip(outputs, found, strict=True))
