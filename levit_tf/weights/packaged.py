"""Weights that come with the package, so that a network trained on photographs works offline.

docs/levit_mini.md describes their training and accuracy. Kernels are stored in half precision to
keep the file small; vectors, including BatchNorm's statistics, are stored in full precision.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import os
from collections.abc import Mapping, Sequence

import numpy as np

from levit_common.files import atomic_path
from levit_common.regular_files import ModelFileError
from levit_common.spelling import did_you_mean
from levit_tf.variants import Variant, get_variant, list_variants
from levit_tf.weights.pytorch_names import HEAD_PREFIXES

CLASS_NAMES = "class_names"  # key in the file, next to the arrays
_FOLDER = "files"


@dataclasses.dataclass(frozen=True)
class Packaged:
    """Description of packaged weights, which `weights=NAME` loads.

    Attributes:
      variant: name of the variant.
      classes: number of classes.
      origin: text that the model notes as the origin of its weights.
    """

    variant: str
    classes: int
    origin: str


PACKAGED = {"imagenette": Packaged("LeViTMini", 10, "LeViTMini trained on Imagenette")}


def find_packaged(weights: str | os.PathLike | None, variant: Variant) -> Packaged | None:
    """Returns the packaged weights of this name; None if the name is not in `PACKAGED`.

    Raises:
      ValueError: they belong to another variant.
    """
    found = PACKAGED.get(os.fspath(weights)) if weights is not None else None
    if found is not None and found.variant != variant.name:
        raise ValueError(
            f"weights={os.fspath(weights)!r} are those of {found.variant}. Received: {variant.name}"
        )
    return found


def default_weights(variant: Variant) -> str:
    """Returns the name of a variant's default weights: packaged, or released for ImageNet."""
    names = (name for name, found in PACKAGED.items() if found.variant == variant.name)
    return next(names, "imagenet")


def variants_with_weights() -> list[str]:
    """Returns the names of the variants of which weights are released or in the package."""
    variants = map(get_variant, list_variants())
    return [v.name for v in variants if v.published is not None or default_weights(v) in PACKAGED]


def variant_with_weights(name: str, expected: str, label: str = "") -> Variant:
    """Returns the variant that a user names for its weights.

    Args:
      name: its name, in any spelling that `get_variant` takes.
      expected: what the caller accepts, for the error message.
      label: what the error message begins with, such as "init_from=".

    Raises:
      ModelFileError: there is no such variant, or no weights for it.
    """
    known = variants_with_weights()
    try:
        variant = get_variant(name)
    except ValueError:
        variant = None
    if variant is not None and variant.name in known:
        return variant
    which = "a variant without weights" if variant else "no variant"
    hint = "" if variant else did_you_mean(name, known)
    raise ModelFileError(
        f"{label}{name or repr(name)}: no such file, and {which}.{hint} Expected {expected}: "
        f"{', '.join(known)}."
    )


def read_packaged(weights: str) -> tuple[dict[str, np.ndarray], list[str], str]:
    """Returns arrays and class names of packaged weights, and their file for error messages.

    The network was trained with one head. Its weights are used for both heads, whose mean is then
    equal to the logits of the one head.
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
      arrays: arrays of a LeViT with one head, by the paths of its variables.
      class_names: class names in the order of the outputs.
    """
    stored = {
        key: array.astype(np.float16 if array.ndim > 1 else np.float32)
        for key, array in arrays.items()
    }
    with atomic_path(path, overwrite=True) as temporary:
        np.savez_compressed(temporary, **stored, **{CLASS_NAMES: np.array(list(class_names))})
