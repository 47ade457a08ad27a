"""RegNetY, the teacher of the paper, as a Keras model, and its weights from PyTorch."""
