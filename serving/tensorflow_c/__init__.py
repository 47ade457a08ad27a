"""TensorFlow through its C API, which runs a SavedModel as TensorFlow Serving's C++ does.

`tf.saved_model.load` would build Python functions around the graph: slower to start, other names
for inputs and outputs, and without the session that a server has.
"""
