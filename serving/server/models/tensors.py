"""Writes computed arrays to the TensorProtos of a response, as TensorFlow Serving does.

Values go to the fields of their dtype (`float_val`, ...), which many clients read directly. In
protobuf's wire format, the fields of floats and booleans have the same bytes as the array, so these
are not copied one by one through Python.
"""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

from serving.tensor_types import TENSOR_TYPES

_FIELDS = {kind.numpy: kind.field for kind in TENSOR_TYPES.values()}
# Fields whose packed wire format has the same bytes as the array.
_AS_BYTES = frozenset({"float_val", "double_val", "scomplex_val", "dcomplex_val", "bool_val"})
_LENGTH_DELIMITED = 2


def fill_tensor(proto: TensorProto, array: np.ndarray, as_content: bool = False) -> None:
    """Writes `array` into an empty TensorProto.

    Args:
      proto: the TensorProto.
      array: an array of any TensorFlow dtype; strings as an object array of bytes.
      as_content: whether numbers go to `tensor_content` instead of the field of their dtype.
    """
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    if array.dtype.hasobject:
        proto.dtype = tf.string.as_datatype_enum
        proto.string_val.extend(array.ravel().tolist())
        return
    proto.dtype = _data_type(array.dtype)
    field = _FIELDS.get(array.dtype.name)
    if as_content or not field:
        proto.tensor_content = array.tobytes()
    elif field in _AS_BYTES:
        data = array.tobytes()
        if data:
            proto.MergeFromString(_key(field) + _varint(len(data)) + data)
    elif field == "half_val":
        proto.half_val.extend(array.ravel().view(np.uint16).tolist())
    else:
        getattr(proto, field).extend(array.ravel().tolist())


def int32_values(proto: TensorProto) -> list[int]:
    """Returns the values of an int32 tensor of a response, flattened; [] for any other type."""
    if proto.dtype != tf.int32.as_datatype_enum:
        return []
    return tf.make_ndarray(proto).ravel().tolist()


@functools.cache
def _data_type(dtype: np.dtype) -> int:
    return tf.dtypes.as_dtype(dtype).as_datatype_enum


@functools.cache
def _key(field: str) -> bytes:
    number = TensorProto.DESCRIPTOR.fields_by_name[field].number
    return _varint(number << 3 | _LENGTH_DELIMITED)


def _varint(value: int) -> bytes:
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)
