"""Writes SavedModels and other files of TensorFlow, whose errors are those of the system."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

import tensorflow as tf

from levit_common.regular_files import first_line


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turns TensorFlow's error about a file, as on a full disk, into an OSError that names it.

    Args:
      path: the output that the block writes.
    """
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(f"{os.fspath(path)}: cannot be written {first_line(error)}.") from error


def write_saved_model(
    module: tf.Module,
    path: str | os.PathLike,
    signatures: Mapping[str, tf.types.experimental.GenericFunction],
) -> None:
    """Writes functions by name, and the variables of a module, as a SavedModel.

    Raises:
      OSError: it cannot be written.
    """
    with writing(path):
        tf.saved_model.save(module, os.fspath(path), signatures=dict(signatures))
