"""Figures, with matplotlib: attention maps, attention biases and the network as a diagram."""
