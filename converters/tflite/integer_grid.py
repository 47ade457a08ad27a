"""int8 and the numbers it stands for: rounding as the quantiser does it, and reading from files."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from converters.tflite.tflite_graph import Graph

# With zero point 0: the value of the smallest integer, relative to that of the largest.
SYMMETRIC_MIN = np.float32(-128 / 127)
_BITS = 8
_LOWEST, _HIGHEST = -(2 ** (_BITS - 1)), 2 ** (_BITS - 1) - 1


def rounded(values: np.ndarray, low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
    """Rounds values to the values that int8 can represent.

    Args:
      values: float32 values.
      low: value of the smallest integer: one number, or an array that broadcasts with `values`.
      high: value of the largest integer, in the same form as `low`.

    Returns:
      float32 values of the broadcast shape.
    """
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.algorithms.uniform_quantize import uniform_quantize_tensor

    zero_point, scale = uniform_quantize_tensor.tensor_zp_scale_from_min_max(
        np.asarray(low, np.float32),
        np.asarray(high, np.float32),
        _BITS,
        symmetric=False,
        granularity=qtyping.QuantGranularity.TENSORWISE,
    )
    scale, zero_point = scale.astype(np.float32), zero_point.astype(np.float32)
    steps = values / scale
    np.rint(steps, out=steps)
    np.clip(steps, _LOWEST - zero_point, _HIGHEST - zero_point, out=steps)
    steps *= scale
    return steps


class Grid(NamedTuple):
    """The quantisation of an activation: value = (integer - zero_point) * scale.

    Attributes:
      scale: size of one step.
      zero_point: int8 zero point.
    """

    scale: float
    zero_point: int

    def numbers(self, integers: np.ndarray | int) -> np.ndarray:
        """Returns what integers, or means of them, stand for."""
        return (integers - self.zero_point) * self.scale

    def integers(self, numbers: np.ndarray) -> np.ndarray:
        """Rounds numbers to int8."""
        steps = np.rint(numbers / self.scale + self.zero_point)
        return steps.clip(_LOWEST, _HIGHEST).astype(np.int8)

    def limits(self) -> tuple[float, float]:
        """Returns the smallest and the largest number."""
        return self.numbers(_LOWEST), self.numbers(_HIGHEST)


def grid_of(graph: Graph, name: str) -> Grid | None:
    """Returns the grid of a tensor in a file; None if it has none, or one for each channel."""
    quantization = graph.tensors[name].quantization
    if quantization is None or quantization.scale is None or len(quantization.scale) != 1:
        return None
    return Grid(np.float32(quantization.scale[0]), int(quantization.zeroPoint[0]))


def scales_of(graph: Graph, name: str) -> np.ndarray | None:
    """Returns one scale per filter of a kernel; None for tensors that are not quantised."""
    tensor = graph.tensors[name]
    if tensor.quantization is None or tensor.quantization.scale is None:
        return None
    scales = np.asarray(tensor.quantization.scale, np.float32)
    return np.broadcast_to(scales, tensor.shape[:1]).copy()


def integers_of(graph: Graph, name: str, dtype: type) -> np.ndarray:
    """Returns the integers of a constant."""
    tensor = graph.tensors[name]
    data = memoryview(graph.model.buffers[tensor.buffer].data)
    return np.frombuffer(data, dtype).reshape(tensor.shape)
