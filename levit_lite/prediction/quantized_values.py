"""Values of TFLite tensors, whose integers stand for `scale * (integer - zero_point)`."""

from __future__ import annotations

from typing import Any

import numpy as np


def quantize(x: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Values in the type of a tensor: rounded to its integer grid where it is quantised.

    Args:
      x: float32.
      details: of the tensor, as LiteRT's interpreter tells them: "dtype" and "quantization".
    """
    dtype = details["dtype"]
    if not np.issubdtype(dtype, np.integer):
        return x.astype(dtype)
    scale, zero_point = details["quantization"]
    limits = np.iinfo(dtype)
    return np.clip(np.round(x / scale) + zero_point, limits.min, limits.max).astype(dtype)


def dequantize(x: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """A tensor's values as float32.

    Args:
      x: as LiteRT returns them.
      details: of the tensor, see `quantize`.
    """
    scale, zero_point = details["quantization"]
    if not np.issubdtype(x.dtype, np.integer) or not scale:  # 0: plain integers
        return x.astype(np.float32)
    return np.float32(scale) * (x.astype(np.float32) - zero_point)
