"""Rounds values to int8 with the same arithmetic as the quantiser."""

from __future__ import annotations

import numpy as np

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
