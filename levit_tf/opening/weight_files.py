"""Checks HDF5 weight files: all datasets are in the file itself and not larger than the file."""

from __future__ import annotations

import os
from typing import Any

from levit_common.regular_files import ModelFileError, check_regular
from levit_lite.opening.archives import allowed_bytes

_MAX_DEPTH = 100  # of nested groups; Keras' files have a few, one per level of nested layers


def check_weights_file(path: str | os.PathLike) -> int:
    """Checks a `.weights.h5` file.

    Returns:
      Size of all datasets in bytes.

    Raises:
      FileNotFoundError: there is no such file.
      ModelFileError: see `check_weights`.
    """
    return check_weights(os.fspath(path), check_regular(path), os.fspath(path))


def check_weights(file: Any, stored: int, source: str) -> int:
    """Checks an HDF5 file by its headers; no dataset is read.

    HDF5 can refer to other files, and can declare a dataset of any size without storing its data.

    Args:
      file: a path, or a seekable file object.
      stored: size of the file in bytes.
      source: name of the file, for error messages.

    Returns:
      Size of all datasets in bytes.

    Raises:
      ModelFileError: an entry refers to another file, is found twice, is not numeric, or is larger
        than the file allows; or the file is damaged.
    """
    import h5py

    seen = set()

    def visit(group, depth):
        address = h5py.h5o.get_info(group.id).addr
        if address in seen or depth > _MAX_DEPTH:
            raise ModelFileError(f"{source}: weights in it lead back to themselves.")
        seen.add(address)
        total = 0
        for name in group:
            where = f"{group.name.rstrip('/')}/{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ModelFileError(f"{source}: {where} in it is a link to somewhere else.")
            child = group[name]
            if isinstance(child, h5py.Group):
                total += visit(child, depth + 1)
            elif isinstance(child, h5py.Dataset):
                total += _dataset_bytes(child, where, source)
        return total

    try:
        with h5py.File(file, "r") as opened:
            total = visit(opened, 0)
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(
            f"{source}: truncated, or not a weights file of Keras 3 ({error}). Delete or replace "
            "it."
        ) from error
    if total > allowed_bytes(stored):
        raise ModelFileError(
            f"{source}: declares {total:,} bytes of weights in {stored:,}; at most "
            f"{allowed_bytes(stored):,} are allowed, since weights hardly shrink."
        )
    return total


def _dataset_bytes(dataset: Any, where: str, source: str) -> int:
    if dataset.is_virtual or dataset.external:
        raise ModelFileError(f"{source}: {where} in it is stored in another file.")
    if dataset.dtype.kind not in "biufcSV":
        raise ModelFileError(f"{source}: {where} in it holds {dataset.dtype}, no numbers.")
    return int(dataset.size or 0) * dataset.dtype.itemsize
