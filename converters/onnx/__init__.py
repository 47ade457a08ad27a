"""ONNX files: writing them, and their layout, channels-first inside."""
