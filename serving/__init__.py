"""TensorFlow Serving around LeViT: exports for it, a stand-in for it, a client and load tests."""
