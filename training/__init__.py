"""Training a LeViT under tf.distribute: `python -m training.main --output=DIR`.

A loop of our own on the Keras 3 model, because `keras.Model.fit` has no multi-worker strategies and
no exact resume.
"""
