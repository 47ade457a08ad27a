"""Reads a PyTorch checkpoint file into named numpy arrays, without trusting it.

Safetensors files need no torch. A `.pth`/`.pt`/`.bin` file is a pickle, which could run any code
when loaded carelessly; torch always reads it with `weights_only=True`.
"""

from __future__ import annotations

import argparse
import os
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from levit_common.regular_files import check_regular
from levit_lite.opening.archives import DAMAGE, allowed_bytes, check_archive
from levit_tf.opening.safetensors_files import check_safetensors_file
from levit_tf.weights.checkpoint_wrappers import find_state

_EXPECTED = (
    "Expected a PyTorch checkpoint: .safetensors, or .pth/.pt/.bin as written by torch.save()"
)


class Checkpoint(dict[str, np.ndarray]):
    """Arrays by key.

    Attributes:
      notes: readable notes that say which part of the file the arrays are, if it contains more.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], notes: Sequence[str] = ()):
        super().__init__(arrays)
        self.notes = tuple(notes)


def read_checkpoint(path: str | os.PathLike, key: str | None = None) -> Checkpoint:
    """Reads the tensors of a state dict.

    The format is recognised by the content, not by the suffix. Half-precision tensors are returned
    as float32.

    Args:
      path: a `.safetensors` file, or one written by `torch.save`.
      key: key of the state dict in a file that holds several, see `checkpoint_wrappers.find_state`;
        by default the trained weights.

    Returns:
      The arrays by key.

    Raises:
      FileNotFoundError: there is no such file.
      ImportError: the file needs torch or safetensors, which is not installed.
      ValueError: the file is empty, truncated, of another format, contains anything other than
        tensors, or contains weights that are not finite; the message says which.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        raise ValueError(f"{path}: a directory. {_EXPECTED}.")
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such file.")
    check_regular(path)
    kind = _kind(path)
    if kind == "safetensors":
        arrays = _read_safetensors(path)
        arrays = arrays if key is None else Checkpoint(*find_state(arrays, _is_array, path, key))
    else:
        arrays = _read_torch(path, key)
    if not arrays:
        raise ValueError(f"{path}: a checkpoint without a single tensor.")
    check_finite(path, arrays)
    return arrays


def _kind(path: str) -> str:
    """Returns "safetensors" or "torch", judged by the first bytes; raises for anything else."""
    with open(path, "rb") as file:
        head = file.read(16)
    if not head:
        raise ValueError(f"{path}: the file is empty. {_EXPECTED}.")
    if head.startswith(b"PK\x03\x04"):
        _check_zip(path)
        return "torch"
    # A pickle begins with its protocol number; torch wrote bare pickles until version 1.6.
    if head[0] == 0x80 and head[1] <= 5:
        return "torch"
    # Safetensors: eight bytes of header length, little-endian, then the header, which is JSON.
    if head[8:9] == b"{":
        return "safetensors"
    if head.startswith(b"\x89HDF"):
        found = "an HDF5 file, perhaps Keras weights (give those as `weights=`)"
    elif all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        found = "a text file or a page that was saved in place of the download"
    else:
        found = "neither a zip archive nor a pickle nor safetensors"
    raise ValueError(f"{path}: {found}. {_EXPECTED}.")


def _check_zip(path: str) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except DAMAGE as error:
        raise ValueError(
            f"{path}: a truncated or damaged zip archive of {os.path.getsize(path)} bytes ({error})"
            ". Fetch or copy the file again."
        ) from error
    if "model.weights.h5" in names:
        raise ValueError(f"{path}: a Keras model (.keras), not a PyTorch checkpoint. {_EXPECTED}.")
    if not any(name.endswith("/data.pkl") for name in names):
        raise ValueError(f"{path}: a zip archive, but not one of torch.save(). {_EXPECTED}.")
    check_archive(path)


def _read_safetensors(path: str) -> Checkpoint:
    try:
        import ml_dtypes  # noqa: F401, registers "bfloat16" with numpy
        import safetensors
        from safetensors.numpy import load_file
    except ImportError as error:
        raise ImportError(
            f"{path}: reading safetensors needs the safetensors package: pip install safetensors"
        ) from error
    check_safetensors_file(path)
    try:
        arrays = load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path}: truncated or damaged safetensors of {os.path.getsize(path)} bytes ({error}). "
            "Fetch or copy the file again."
        ) from error
    return Checkpoint({key: _widened(array) for key, array in arrays.items()})


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def _read_torch(path: str, key: str | None) -> Checkpoint:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"{path}: reading a pickled PyTorch checkpoint needs torch: "
            'pip install "levit_tf[torch]". A .safetensors file needs none.'
        ) from error
    import pickle

    try:
        with (
            open(path, "rb") as file,  # a file object, since torch would judge a path by its suffix
            warnings.catch_warnings(),
            torch.serialization.safe_globals([argparse.Namespace]),
        ):
            # Warnings are about pickle protocols. The official main.py stores its flags with the
            # weights as a Namespace, which is plain data.
            warnings.simplefilter("ignore")
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: refused, nothing in it was run. It holds Python objects besides tensors, and "
            "unpickling those can run any code"
            f"{_blamed(error)}. Expected a state dict: torch.save(model.state_dict(), ...). If you "
            "trust the file, save torch.load(FILE, weights_only=False)['state_dict'] in this way."
        ) from error
    except Exception as error:  # A damaged file can raise many types of errors.
        raise ValueError(
            f"{path}: truncated, damaged, or no checkpoint at all "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__}). {_EXPECTED}."
        ) from error
    tensors, notes = _unwrapped(path, content, key)
    # A tensor can repeat one stored value any number of times.
    shown = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    limit = allowed_bytes(os.path.getsize(path))
    if shown > limit:
        raise ValueError(
            f"{path}: its tensors have {shown:,} bytes; at most {limit:,} are allowed in a file of "
            f"{os.path.getsize(path):,}."
        )
    try:
        arrays = {
            # numpy has no bfloat16, and float64 is useless: the model computes in float32.
            key: (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()
            for key, tensor in tensors.items()
        }
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"{path}: numpy cannot hold the type of its tensors ({str(error).splitlines()[0]})."
        ) from error
    return Checkpoint(arrays, notes)


def _blamed(error: Exception) -> str:
    """Returns the name of the refused object, if torch's long message contains it."""
    found = re.search(r"GLOBAL (\S+)", str(error))
    return f" (it names {found[1]})" if found else ""


def _unwrapped(path: str, content: Any, key: str | None) -> tuple[Mapping, list[str]]:
    """Returns the state dict in the result of torch.load(); raises for anything but tensors."""
    import torch

    def is_tensor(value: Any) -> bool:
        return isinstance(value, torch.Tensor)

    if not isinstance(content, Mapping):
        raise ValueError(
            f"{path}: holds a {type(content).__name__}, not a state dict. {_EXPECTED}."
        )
    content, notes = find_state(content, is_tensor, path, key)
    others = {
        key: type(value).__name__
        for key, value in content.items()
        if not is_tensor(value)
        or (value.is_quantized or value.is_complex() or value.is_meta)
        or value.layout != torch.strided
    }
    if others:
        listed = "\n  ".join(f"{key}: {name}" for key, name in others.items())
        raise ValueError(
            f"{path}: not a state dict; {len(others)} of {len(content)} values are not dense "
            f"tensors:\n  {listed}"
        )
    return content, notes


def _widened(array: np.ndarray) -> np.ndarray:
    """Converts floats of any width to float32; ml_dtypes' floats have numpy's kind "V"."""
    return array.astype(np.float32) if array.dtype.kind in "fV" else array


def check_finite(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Checks that all weights are finite.

    Args:
      path: their file, for the error message.
      arrays: the weights by key.

    Raises:
      ValueError: some are NaN or infinite; the message lists their keys.
    """
    bad = [
        f"{key}: {np.count_nonzero(~np.isfinite(array))} of {array.size}"
        for key, array in arrays.items()
        if array.dtype.kind == "f" and not np.isfinite(array).all()
    ]
    if bad:
        listed = "\n  ".join(bad)
        raise ValueError(f"{path}: weights that are NaN or infinite:\n  {listed}")
