"""A `.tflite` file as a network, and any network as a classifier with names of classes."""
