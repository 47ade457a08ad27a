"""The functions of TensorFlow's C library (`TF_*`) that load and run SavedModels, by ctypes.

The library is part of pip's tensorflow, with the same loader and executor as in TensorFlow Serving.
Long functions release the interpreter lock; short ones keep it, because releasing it would cost
more than they do.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_ubyte, c_void_p
from pathlib import Path
from types import SimpleNamespace


class TensorFlowError(Exception):
    """TensorFlow refused or failed to do something.

    Attributes:
      code: TensorFlow's error code, which is the same as gRPC's: 3 is INVALID_ARGUMENT.
      message: TensorFlow's message.
    """

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


class Buffer(ctypes.Structure):
    """TF_Buffer."""

    _fields_ = (("data", c_void_p), ("length", c_size_t), ("data_deallocator", c_void_p))


class Output(ctypes.Structure):
    """TF_Output: one output of an operation."""

    _fields_ = (("operation", c_void_p), ("index", c_int))


# From name to result and arguments.
_SHORT = {
    "TF_NewStatus": (c_void_p, []),
    "TF_DeleteStatus": (None, [c_void_p]),
    "TF_GetCode": (c_int, [c_void_p]),
    "TF_Message": (c_char_p, [c_void_p]),
    "TF_NewBuffer": (POINTER(Buffer), []),
    "TF_NewBufferFromString": (POINTER(Buffer), [c_char_p, c_size_t]),
    "TF_DeleteBuffer": (None, [POINTER(Buffer)]),
    "TF_NewGraph": (c_void_p, []),
    "TF_DeleteGraph": (None, [c_void_p]),
    "TF_GraphOperationByName": (c_void_p, [c_void_p, c_char_p]),
    "TF_OperationNumOutputs": (c_int, [c_void_p]),
    "TF_OperationOutputType": (c_int, [Output]),
    "TF_NewSessionOptions": (c_void_p, []),
    "TF_SetConfig": (None, [c_void_p, c_char_p, c_size_t, c_void_p]),
    "TF_DeleteSessionOptions": (None, [c_void_p]),
    "TF_AllocateTensor": (c_void_p, [c_int, POINTER(c_int64), c_int, c_size_t]),
    "TF_TensorFromProto": (None, [POINTER(Buffer), c_void_p, c_void_p]),
    "TF_DeleteTensor": (None, [c_void_p]),
    "TF_TensorType": (c_int, [c_void_p]),
    "TF_NumDims": (c_int, [c_void_p]),
    "TF_Dim": (c_int64, [c_void_p, c_int]),
    "TF_TensorByteSize": (c_size_t, [c_void_p]),
    "TF_TensorElementCount": (c_int64, [c_void_p]),
    "TF_TensorData": (c_void_p, [c_void_p]),
    "TF_StringGetDataPointer": (c_void_p, [c_void_p]),
    "TF_StringGetSize": (c_size_t, [c_void_p]),
    "TF_NewOperation": (c_void_p, [c_void_p, c_char_p, c_char_p]),
    "TF_AddInputList": (None, [c_void_p, POINTER(Output), c_int]),
    "TF_SetAttrValueProto": (None, [c_void_p, c_char_p, c_char_p, c_size_t, c_void_p]),
    "TF_FinishOperation": (c_void_p, [c_void_p, c_void_p]),
    "TF_GraphCopyFunction": (None, [c_void_p, c_void_p, c_void_p, c_void_p]),
    "TF_DeleteFunction": (None, [c_void_p]),
    "TF_GraphToFunction": (
        c_void_p,
        [
            *(c_void_p, c_char_p, c_ubyte, c_int, POINTER(c_void_p), c_int, POINTER(Output)),
            *(c_int, POINTER(Output), POINTER(c_char_p), c_void_p, c_char_p, c_void_p),
        ],
    ),
}
_LONG = {
    "TF_LoadSessionFromSavedModel": (
        c_void_p,
        [
            *(c_void_p, POINTER(Buffer), c_char_p, POINTER(c_char_p), c_int, c_void_p),
            *(POINTER(Buffer), c_void_p),
        ],
    ),
    "TF_SessionRun": (
        None,
        [
            *(c_void_p, POINTER(Buffer), POINTER(Output), POINTER(c_void_p), c_int),
            *(POINTER(Output), POINTER(c_void_p), c_int, POINTER(c_void_p), c_int),
            *(POINTER(Buffer), c_void_p),
        ],
    ),
    "TF_CloseSession": (None, [c_void_p, c_void_p]),
    "TF_DeleteSession": (None, [c_void_p, c_void_p]),
}


@functools.cache
def library() -> SimpleNamespace:
    """Returns TensorFlow's C functions by name.

    Raises:
      ImportError: TensorFlow is not installed, or lacks the C library.
    """
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("SavedModels are run by TensorFlow's C library: pip install tensorflow")
    folder = Path(spec.submodule_search_locations[0])
    name = "libtensorflow_cc.2.dylib" if sys.platform == "darwin" else "libtensorflow_cc.so.2"
    path = folder / name
    if not path.exists():
        raise ImportError(f"{path} is missing: this build of TensorFlow has no C library.")
    functions: dict[str, Callable] = {}
    for table, loader in ((_SHORT, ctypes.PyDLL), (_LONG, ctypes.CDLL)):
        loaded = loader(str(path))
        for function_name, (result, arguments) in table.items():
            function = getattr(loaded, function_name)
            function.restype, function.argtypes = result, arguments
            functions[function_name] = function
    memmove = ctypes.PyDLL(None).memmove  # ctypes.memmove would release the interpreter lock
    memmove.restype, memmove.argtypes = c_void_p, [c_void_p, c_void_p, c_size_t]
    functions["memmove"] = memmove
    return SimpleNamespace(**functions)


@contextlib.contextmanager
def checked_status() -> Iterator[int]:
    """Yields a TF_Status for one call, and raises its error.

    Raises:
      TensorFlowError: the call failed.
    """
    lib = library()
    status = lib.TF_NewStatus()
    try:
        yield status
        check_status(status)
    finally:
        lib.TF_DeleteStatus(status)


def check_status(status: int) -> None:
    """Raises TensorFlowError if `status` is an error."""
    lib = library()
    code = lib.TF_GetCode(status)
    if code:
        raise TensorFlowError(code, lib.TF_Message(status).decode("utf-8", "replace"))


@contextlib.contextmanager
def new_buffer(data: bytes) -> Iterator:
    """Yields a TF_Buffer with a copy of `data`."""
    lib = library()
    buffer = lib.TF_NewBufferFromString(data, len(data))
    try:
        yield buffer
    finally:
        lib.TF_DeleteBuffer(buffer)
