"""ONNX files: their layout, channels-first inside. `converters.to_onnx` writes them."""
