"""Classifies pictures with a network from any supported file.

`network_files` opens and runs the file, with `onnx_network` for ONNX; `predictor` prepares pictures
and names classes.

TensorFlow, LiteRT and ONNX Runtime are imported only for the files that need them.
"""
