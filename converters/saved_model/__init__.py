"""SavedModels: writing them, TensorFlow graphs of a network, and checks of what goes in."""
