"""What all packages share and none of them is about: files, names, arrays, console output.

It imports only the standard library, `cli` absl, `arrays` numpy and `figures` Matplotlib, so that a
command can use it before it starts Keras or TensorFlow, or without them.
"""
