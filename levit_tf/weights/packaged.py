"""Weights that come with the package, so that something that has seen photographs works offline.

docs/levit_mini.md says how they were trained and how good they are. Kernels are stored in half
precision, which is what keeps them small; vectors, BatchNorm's statistics among them, are not.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import os
from collections.abc import Mapping, Sequence

import numpy as np

from levit_common.files import atomic_path
from levit_tf.variants import Variant
from levit_tf.weights.pytorch_names import HEAD_PREFIXES

CLASS_NAMES = "class_names"  # in the file, beside the arrays
_FOLDER = "files"


@dataclasses.dataclass(frozen=True)
class Packaged:
    """Weights that `weights=NAME` gives one variant.

    Attributes:
      variant: name of the variant.
      classes: how many.
      origin: what the model notes about them.
    """

    variant: str
    classes: int
    origin: str


PACKAGED = {"imagenette": Packaged("LeViTMini", 10, "LeViTMini trained on Imagenette")}


def find_packaged(weights: str | os.PathLike | None, variant: Variant) -> Packaged | None:
    """The weights of a name; None where it is not one of `PACKAGED`.

    Raises:
      ValueError: they are those of another variant.
    """
    found = PACKAGED.get(os.fspath(weights)) if weights is not None else None
    if found is not None and found.variant != variant.name:
        raise ValueError(
            f"weights={os.fspath(weights)!r} are those of {found.variant}. Received: {variant.name}"
        )
    return found


def default_weights(variant: Variant) -> str:
    """The name of the weights that a variant has: in the package, or released for ImageNet."""
    names = (name for name, found in PACKAGED.items() if found.variant == variant.name)
    return next(names, "imagenet")


def read_packaged(weights: str) -> tuple[dict[str, np.ndarray], list[str], str]:
    """The arrays of packaged weights, their class names, and where they are from, for messages.

    The network was trained with one head, which stands for both: their mean is its own logits.
    """
    name = f"{PACKAGED[weights].variant}-{weights}.npz"
    file = importlib.resources.files("levit_tf.weights").joinpath(_FOLDER, name)
    with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
        arrays = {key: archive[key].astype(np.float32) for key in archive if key != CLASS_NAMES}
        names = archive[CLASS_NAMES].tolist()
    head, second = HEAD_PREFIXES
    for key in [key for key in arrays if key.startswith(head)]:
        arrays.setdefault(second + key.removeprefix(head), arrays[key])
    return arrays, names, f"levit_tf's {name}"


def write_packaged(
    path: str | os.PathLike, arrays: Mapping[str, np.ndarray], class_names: Sequence[str]
) -> None:
    """Writes a file that `read_packaged` reads.

    Args:
      path: the `.npz` file.
      arrays: of a LeViT with one head, by the paths of its variables.
      class_names: in the order of its classes.
    """
    stored = {
        key: array.astype(np.float16 if array.ndim > 1 else np.float32)
        for key, array in arrays.items()
    }
    with atomic_path(path, overwrite=True) as temporary:
        np.savez_compressed(temporary, **stored, **{CLASS_NAMES: np.array(list(class_names))})
