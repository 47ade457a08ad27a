"""The networks that are measured, with random weights, and their files for every runtime.

ours           LeViTs, and their files as the converters write them
published      Keras networks with published accuracies, and their files as TensorFlow writes them
timm_networks  networks of timm with published accuracies, and their ONNX files
peers          what the networks of others need: their runtimes' quantisers, PyTorch
forms          runtimes and precisions by name, and the pictures that all get

No command is here, and none of it imports one, nor `benchmarks.support`.
"""
