"""Safety checks of untrusted files, one module per format, as promised in docs/security.md.

Every tool that opens a file calls these checks before any part of it is unpacked, built or run:

    keras_files         .keras: a valid archive, and no more variables than it has weights for
    weight_files        .weights.h5, alone or in a .keras file
    saved_models        SavedModels: no operation that has effects outside the model
    operations          the list of such TensorFlow operations
    onnx_files          .onnx: no references to other files, no tensors without data
    safetensors_files   .safetensors: a valid header

Zip archives and .tflite files are checked in `levit_lite.opening`, which needs no Keras.

`levit_common.regular_files` ensures that a path is a regular file of limited size and not, for
example, a pipe. PyTorch pickles are checked in `levit_tf.weights.checkpoint_files`, and text files
by the code that reads them.
"""
