"""Matplotlib figures: attention maps, attention biases and a diagram of the network."""
