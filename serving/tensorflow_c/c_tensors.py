"""Converts TensorFlow's C tensors to and from numpy arrays and TensorProtos."""

from __future__ import annotations

import ctypes
import functools
import math
from ctypes import c_int64

import numpy as np
from tensorflow.core.framework import types_pb2
from tensorflow.core.framework.tensor_pb2 import TensorProto

from serving.tensorflow_c.c_library import Buffer, check_status, library

STRING_BYTES = 24  # size of a TF_TString, without its content
_MOST_DIMS = 254  # with more, TF_AllocateTensor crashes the process


@functools.cache
def _numpy_dtype(enum: int) -> np.dtype:
    import tensorflow as tf

    return np.dtype(tf.dtypes.as_dtype(enum).as_numpy_dtype)


@functools.cache
def _tensorflow_dtype(dtype: np.dtype) -> int:
    import tensorflow as tf

    return tf.dtypes.as_dtype(dtype).as_datatype_enum


def new_tensor(value: np.ndarray | TensorProto, status: int) -> int:
    """Makes a new TF_Tensor with a copy of `value`; the caller deletes it.

    Args:
      value: an array, for strings one of bytes, str or objects; or a TensorProto.
      status: a TF_Status to use.

    Raises:
      TensorFlowError: TensorFlow cannot read the TensorProto.
      TypeError: the array has a dtype that TensorFlow lacks.
    """
    if isinstance(value, TensorProto):
        return _from_proto(value, status)
    value = np.asarray(value)
    if value.dtype.kind in "OSU":
        return _from_proto(_string_proto(value), status)
    return _from_buffer(_tensorflow_dtype(value.dtype), value.shape, np.ascontiguousarray(value))


def _string_proto(value: np.ndarray) -> TensorProto:
    proto = TensorProto(dtype=types_pb2.DT_STRING)
    for size in value.shape:
        proto.tensor_shape.dim.add(size=size)
    proto.string_val.extend(s.encode() if isinstance(s, str) else s for s in value.ravel().tolist())
    return proto


def _from_proto(proto: TensorProto, status: int) -> int:
    dims = [dim.size for dim in proto.tensor_shape.dim]
    is_plain = proto.dtype != types_pb2.DT_STRING and proto.tensor_content
    if is_plain and len(dims) <= _MOST_DIMS and min(dims, default=0) >= 0:
        content = proto.tensor_content
        size = item_bytes(proto.dtype)
        if size is not None and len(content) == size * math.prod(dims):
            return _from_buffer(proto.dtype, dims, np.frombuffer(content, np.uint8))
    lib = library()
    data = proto.SerializeToString()
    buffer = Buffer(ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p), len(data), None)
    # Only a tensor filled by TensorFlow itself frees its strings, and only after its last user,
    # which may be a batch that is still being gathered when the request has timed out.
    tensor = lib.TF_AllocateTensor(types_pb2.DT_UINT8, None, 0, 1)
    lib.TF_TensorFromProto(ctypes.byref(buffer), tensor, status)
    try:
        check_status(status)
    except Exception:
        lib.TF_DeleteTensor(tensor)
        raise
    return tensor


@functools.cache
def item_bytes(enum: int) -> int | None:
    """Returns the size of an element in bytes, if numpy and TensorFlow use the same bytes.

    Returns:
      None for all other numbers: strings and handles, references (for which TensorFlow crashes the
      process), and numbers that are not dtypes of TensorFlow.
    """
    import tensorflow as tf

    try:
        dtype = tf.dtypes.as_dtype(enum)
        is_plain = enum == dtype.base_dtype.as_datatype_enum and enum != types_pb2.DT_INVALID
        item = np.dtype(dtype.as_numpy_dtype) if is_plain else None
    except (TypeError, KeyError):
        return None
    return None if item is None or item.hasobject or item.itemsize == 0 else item.itemsize


def _from_buffer(dtype: int, dims, data: np.ndarray) -> int:
    lib = library()
    tensor = lib.TF_AllocateTensor(dtype, (c_int64 * len(dims))(*dims), len(dims), data.nbytes)
    if data.nbytes:
        lib.memmove(lib.TF_TensorData(tensor), data.ctypes.data, data.nbytes)
    return tensor


def to_numpy(tensor: int) -> np.ndarray:
    """Copies a TF_Tensor to numpy; strings become an object array of bytes."""
    lib = library()
    dtype = lib.TF_TensorType(tensor)
    shape = tuple(lib.TF_Dim(tensor, axis) for axis in range(lib.TF_NumDims(tensor)))
    data = lib.TF_TensorData(tensor)
    if dtype == types_pb2.DT_STRING:
        values = np.empty(lib.TF_TensorElementCount(tensor), object)
        for n in range(values.size):
            string = data + n * STRING_BYTES
            values[n] = ctypes.string_at(
                lib.TF_StringGetDataPointer(string), lib.TF_StringGetSize(string)
            )
        return values.reshape(shape)
    array = np.empty(shape, _numpy_dtype(dtype))
    if array.nbytes:
        lib.memmove(array.ctypes.data, data, array.nbytes)
    return array
