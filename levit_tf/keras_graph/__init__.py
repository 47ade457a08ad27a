"""Inspects the graph of a Keras model: its calls, its notes about itself, its last layers.

For any model that contains a LeViT. `graph_calls` is the only module that uses private parts of
Keras.
"""
