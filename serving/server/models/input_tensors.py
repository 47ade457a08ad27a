"""The inputs that a signature declares, and checks of a request's tensors against them.

TensorFlow Serving's session does not compare a tensor with the shape in its signature. Some kernels
do not check it either, and crash the process. So everything in the declaration is checked before
the session gets the tensor.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from tensorflow.core.framework import types_pb2
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from serving.server.bounds import Bounds
from serving.server.errors import invalid
from serving.tensorflow_c.c_tensors import STRING_BYTES, item_bytes

ANY = -1  # size of a dimension that may have any size


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """The tensors that an input accepts.

    Attributes:
      dtype: dtype, a number of types_pb2.
      shape: sizes, some of which may be `ANY`; None for any rank.
      ones_left_out: whether a tensor may omit trailing sizes of 1, except the first size.
    """

    dtype: int
    shape: tuple[int, ...] | None
    ones_left_out: bool = False

    @classmethod
    def of(cls, info: TensorInfo) -> InputSpec:
        """Makes the spec of an input from a SignatureDef."""
        shape = info.tensor_shape
        if not info.HasField("tensor_shape") or shape.unknown_rank:
            return cls(info.dtype, None)
        return cls(info.dtype, tuple(dim.size for dim in shape.dim))

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a tensor may have this shape."""
        if self.shape is None:
            return True
        if self.ones_left_out and shape:
            shape = (*shape, *[1] * (len(self.shape) - len(shape)))
        return len(shape) == len(self.shape) and all(
            expected in (ANY, size) for size, expected in zip(shape, self.shape, strict=True)
        )


def check_tensor(alias: str, tensor: TensorProto, spec: InputSpec, bounds: Bounds) -> int:
    """Refuses a tensor that an input does not accept.

    Args:
      alias: name of the input.
      tensor: tensor of a request.
      spec: spec of the input.
      bounds: limits of the server, since a few bytes can declare a huge tensor, such as of one
        repeated number or an empty one.

    Returns:
      Size of the tensor in memory, bytes.

    Raises:
      ServingError: INVALID_ARGUMENT, with what was expected and what was received.
    """
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_shape.unknown_rank or min(shape, default=0) < 0:
        found = "an unknown rank" if tensor.tensor_shape.unknown_rank else f"the shape {shape}"
        raise invalid(f"input tensor {alias} has {found}; all sizes must be given, from 0 on.")
    if tensor.dtype != spec.dtype or not spec.fits(shape):
        raise invalid(
            f"input tensor {alias}: expected {_dtype(spec.dtype)} {_shape(spec.shape)}, got "
            f"{_dtype(tensor.dtype)} {_shape(shape)}"
        )
    # For an empty tensor, something may be computed for each size that is not 0, such as a sum of
    # each of its rows. So a size of 0 counts as 1.
    size = math.prod(max(n, 1) for n in shape) * (item_bytes(tensor.dtype) or STRING_BYTES)
    if tensor.dtype == types_pb2.DT_STRING:
        strings = strings_of(tensor)
        # Numbers may omit repetitions of the last one, as TensorFlow's own tools do.
        if len(strings) != math.prod(shape):
            raise invalid(
                f"input tensor {alias} has the shape {_shape(shape)} and {len(strings)} strings; "
                f"each must be given."
            )
        bounds.check_count(f"input tensor {alias}", len(strings))
        size += sum(map(len, strings))
    if size > bounds.max_tensor_bytes:
        # The message omits the number of bytes, which may have more digits than Python can format.
        raise bounds.refuse(
            "max_request_bytes",
            f"input tensor {alias} of the shape {_shape(shape)} is larger than the server's limit "
            f"of {bounds.max_tensor_bytes} bytes.",
        )
    return size


def strings_of(tensor: TensorProto) -> Sequence[bytes]:
    """Returns the strings of a tensor in either form; fewer if `tensor_content` is damaged."""
    if tensor.string_val or not tensor.tensor_content:
        return tensor.string_val
    # The lengths of all strings as varints, followed by the strings.
    content, lengths, position = tensor.tensor_content, [], 0
    count = math.prod(dim.size for dim in tensor.tensor_shape.dim)
    while len(lengths) < count and position < len(content):
        length, position = _varint(content, position)
        lengths.append(length)
    if position + sum(lengths) != len(content):
        return ()
    strings = []
    for length in lengths:
        strings.append(content[position : position + length])
        position += length
    return strings


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """Returns the integer at a position, and the position after it."""
    value = shift = 0
    for byte in content[position : position + 10]:
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            break
    return value, position


def _dtype(number: int) -> str:
    try:
        return types_pb2.DataType.Name(number).removeprefix("DT_").lower()
    except ValueError:
        return f"dtype {number}"


def _shape(sizes: Sequence[int] | None) -> str:
    if sizes is None:
        return "of any shape"
    names = [str(size) if size != ANY else "any" if n else "batch" for n, size in enumerate(sizes)]
    return f"({', '.join(names)}{',' if len(names) == 1 else ''})"
