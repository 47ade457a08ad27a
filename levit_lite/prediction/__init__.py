"""Opens a `.tflite` file as a network, and uses any network as a classifier with class names."""
