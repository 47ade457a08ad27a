"""TensorFlow's tensor types, by their numbers in protobuf messages."""

from __future__ import annotations

from typing import NamedTuple


class TensorType(NamedTuple):
    """A tensor type.

    Attributes:
      name: TensorFlow's name.
      numpy: NumPy's name; for strings, that of arrays of bytes objects.
      field: the field of TensorProto with the values, if they are not in `tensor_content`.
    """

    name: str
    numpy: str
    field: str


# tensorflow.DataType
TENSOR_TYPES = {
    1: TensorType("float", "float32", "float_val"),
    2: TensorType("double", "float64", "double_val"),
    3: TensorType("int32", "int32", "int_val"),
    4: TensorType("uint8", "uint8", "int_val"),
    5: TensorType("int16", "int16", "int_val"),
    6: TensorType("int8", "int8", "int_val"),
    7: TensorType("string", "object", "string_val"),
    8: TensorType("complex64", "complex64", "scomplex_val"),
    9: TensorType("int64", "int64", "int64_val"),
    10: TensorType("bool", "bool", "bool_val"),
    14: TensorType("bfloat16", "bfloat16", "half_val"),
    17: TensorType("uint16", "uint16", "int_val"),
    18: TensorType("complex128", "complex128", "dcomplex_val"),
    19: TensorType("half", "float16", "half_val"),
    22: TensorType("uint32", "uint32", "uint32_val"),
    23: TensorType("uint64", "uint64", "uint64_val"),
}
NUMBERS = {kind.numpy: number for number, kind in TENSOR_TYPES.items()}
