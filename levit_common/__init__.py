"""Helpers that all packages share: files, names, arrays, console output.

Its modules import only the standard library, except that `cli` imports absl, `arrays` numpy and
`figures` Matplotlib. So a command can use them before it starts Keras or TensorFlow, or without.
"""
