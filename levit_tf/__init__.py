"""LeViT for Keras: the paper's variants, their weights, and the deploy graph.

Importing this package imports Keras and numpy, no backend by itself: the models run on Keras'
TensorFlow, JAX and PyTorch backends.
"""

from levit_tf.applications import LeViT128, LeViT128S, LeViT192, LeViT256, LeViT384
from levit_tf.model import LeViT
from levit_tf.variants import Variant, get_variant, list_variants

__all__ = [
    "LeViT",
    "LeViT128",
    "LeViT128S",
    "LeViT192",
    "LeViT256",
    "LeViT384",
    "Variant",
    "get_variant",
    "list_variants",
]
