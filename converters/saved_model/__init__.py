"""TensorFlow graphs of a network, and checks of what goes in, for `converters.to_saved_model`."""
