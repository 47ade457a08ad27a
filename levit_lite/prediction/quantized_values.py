"""Quantises and dequantises TFLite tensors: value = `scale * (integer - zero_point)`."""

from __future__ import annotations

from typing import Any

import numpy as np


def quantize(x: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Converts values to the type of a tensor, rounded to integers if it is quantised.

    Args:
      x: float32 values.
      details: LiteRT's details of the tensor, with "dtype" and "quantization".
    """
    dtype = details["dtype"]
    if not np.issubdtype(dtype, np.integer):
        return x.astype(dtype)
    scale, zero_point = scale_of(details)
    limits = np.iinfo(dtype)
    return np.clip(np.round(x / scale) + zero_point, limits.min, limits.max).astype(dtype)


def dequantize(x: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Converts values of a tensor to float32.

    Args:
      x: values as returned by LiteRT.
      details: LiteRT's details of the tensor, see `quantize`.
    """
    if not np.issubdtype(x.dtype, np.integer):
        return x.astype(np.float32)
    scale, zero_point = scale_of(details)
    return np.float32(scale) * (x.astype(np.float32) - zero_point)


def scale_of(details: dict[str, Any]) -> tuple[float, int]:
    """Returns scale and zero point of a tensor of integers; those not quantised are the values."""
    scale, zero_point = details["quantization"]
    return (scale, zero_point) if scale else (1.0, 0)
