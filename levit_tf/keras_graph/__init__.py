"""A Keras model as it stands: its calls, what it says of itself, where it ends.

For models that have a LeViT in them and anything around it. `graph_calls` is the only module that
uses private parts of Keras.
"""
