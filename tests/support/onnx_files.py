"""What ONNX Runtime makes of a file, without this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


def onnx_session(path: Path, **options: Any) -> onnxruntime.InferenceSession:
    """A session on the CPU.

    Args:
      path: an ONNX file.
      **options: attributes of `onnxruntime.SessionOptions`.
    """
    settings = onnxruntime.SessionOptions()
    for name, value in options.items():
        setattr(settings, name, value)
    return onnxruntime.InferenceSession(str(path), settings, ["CPUExecutionProvider"])


def onnx_logits(path: Path, images: np.ndarray, **options: Any) -> np.ndarray:
    """(batch, classes); `options` are those of `onnx_session`."""
    return onnx_session(path, **options).run(["logits"], {"images": images})[0]
