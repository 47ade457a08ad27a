"""Computed arrays into the TensorProtos of a response, as TensorFlow Serving writes them.

It fills the fields of the dtype (`float_val`, ...), which many clients read directly. In protobuf's
wire format those of floats and booleans are the array's own bytes, so they are not copied one by
one through Python.
"""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

# dtype -> (field, whether the field's packed wire format is the array's bytes).
_FIELDS = {
    "float32": ("float_val", True),
    "float64": ("double_val", True),
    "complex64": ("scomplex_val", True),
    "complex128": ("dcomplex_val", True),
    "bool": ("bool_val", True),
    "float16": ("half_val", False),
    "bfloat16": ("half_val", False),
    "int8": ("int_val", False),
    "int16": ("int_val", False),
    "int32": ("int_val", False),
    "uint8": ("int_val", False),
    "uint16": ("int_val", False),
    "int64": ("int64_val", False),
    "uint32": ("uint32_val", False),
    "uint64": ("uint64_val", False),
}
_LENGTH_DELIMITED = 2


def fill_tensor(proto: TensorProto, array: np.ndarray, as_content: bool = False) -> None:
    """Writes `array` into an empty TensorProto.

    Args:
      proto: the TensorProto.
      array: of any dtype of TensorFlow's; strings as an object array of bytes.
      as_content: numbers go to `tensor_content` instead of the field of their dtype.
    """
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    if array.dtype.hasobject:
        proto.dtype = tf.string.as_datatype_enum
        proto.string_val.extend(array.ravel().tolist())
        return
    proto.dtype = _data_type(array.dtype)
    field, as_bytes = _FIELDS.get(array.dtype.name, ("", False))
    if as_content or not field:
        proto.tensor_content = array.tobytes()
    elif as_bytes:
        data = array.tobytes()
        if data:
            proto.MergeFromString(_key(field) + _varint(len(data)) + data)
    elif field == "half_val":
        proto.half_val.extend(array.ravel().view(np.uint16).tolist())
    else:
        getattr(proto, field).extend(array.ravel().tolist())


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
