"""TensorFlow's C API, which runs a SavedModel in the same way as TensorFlow Serving's C++ code.

`tf.saved_model.load` would build Python functions around the graph: it starts more slowly, uses
other names for inputs and outputs, and has no session as a server has.
"""
