"""What may be in a file that somebody else made, for each format; docs/security.md promises it.

Every tool that opens a file asks here before anything of it is unpacked, built or run:

    keras_files         .keras: an archive, and no more variables than it has weights for
    weight_files        .weights.h5, alone or in a .keras file
    saved_models        SavedModels: no operation that reaches beyond the model
    operations          which of TensorFlow's operations those are
    onnx_files          .onnx: no other files, no tensors without data
    safetensors_files   .safetensors: the header

Zip archives and .tflite files are `levit_lite.opening`'s, which does without Keras.

Regular files of a bounded size, nothing that blocks or never ends, are of
`levit_common.regular_files`. PyTorch pickles are left to `levit_tf.weights.checkpoint_files`, text
files to who reads them.
"""
