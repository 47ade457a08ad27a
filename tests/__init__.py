"""Tests, in the folders of what they test."""

import importlib.util

# PyTorch's own wheels bring Triton, which timm and transformers import. It crashes the process if
# TensorFlow is there before it (TensorFlow 2.21, Triton 3.7), but not the other way round.
if importlib.util.find_spec("triton"):
    import triton  # noqa: F401
