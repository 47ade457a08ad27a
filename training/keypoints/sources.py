"""Data sets of people with joints, by the text that names them."""

from __future__ import annotations

from collections.abc import Callable

from training.keypoints.coco import load_coco
from training.keypoints.dhp19 import load_dhp19
from training.keypoints.lsp import load_lsp
from training.keypoints.people import JointSet
from training.keypoints.table import load_table

_LOADERS: dict[str, Callable[[str], JointSet]] = {
    "lsp": load_lsp,
    "coco": load_coco,
    "csv": load_table,
    "dhp19": load_dhp19,
}


def load_joint_set(dataset: str) -> JointSet:
    """Reads a data set's labels; pictures are read when they are cut.

    Args:
      dataset: KIND:PATH, see `training.keypoints.config.DATASETS`.

    Raises:
      ValueError: unknown kind, or what the loader of the kind says of its files.
      OSError: a file is missing.
    """
    kind, separator, path = dataset.partition(":")
    if kind not in _LOADERS or not separator or not path:
        raise ValueError(
            f"dataset: expected KIND:PATH, KIND one of {', '.join(_LOADERS)}. Received: {dataset!r}"
        )
    return _LOADERS[kind](path)
