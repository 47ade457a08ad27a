"""ONNX files: writing them, their layout, and int8.

conversion        writes a file
recipes           what files can be
onnx_layout       float files run channels-first
token_layout      int8 files run over tokens
quantized_layers  the integers of the int8 TFLite file
quantize          puts them into an ONNX graph
"""
