"""What all packages share and none of them is about: files, pictures on disk, console output.

It imports only the standard library, so that a command can use it before it starts Keras or
TensorFlow, or without them.
"""
