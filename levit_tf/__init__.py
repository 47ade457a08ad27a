"""LeViT for Keras: the paper's variants, their weights, and the deploy graph.

Importing this package imports Keras and numpy only; Keras chooses the backend. The models run on
Keras' TensorFlow, JAX and PyTorch backends.
"""

from levit_common.quiet import is_starting_command, start_keras

if is_starting_command():  # a command-line tool of this package: see levit_common/quiet.py
    start_keras()

from levit_tf.applications import LeViT128, LeViT128S, LeViT192, LeViT256, LeViT384, LeViTMini
from levit_tf.class_names import decode_predictions
from levit_tf.flops import count_flops
from levit_tf.fusion import fuse
from levit_tf.heads import feature_extractor, reset_classifier, with_heads
from levit_tf.keras_graph.properties import ModelProperties, model_properties, with_properties
from levit_tf.keypoints.network import keypoint_network
from levit_tf.model import LeViT
from levit_tf.pictures import digits
from levit_tf.preprocessing import InputRange, preprocess_input
from levit_tf.pyramid import PyramidBackbone, backbone
from levit_tf.sizes import with_input_size
from levit_tf.summary import summary_table
from levit_tf.transfer import transfer_weights
from levit_tf.variants import Variant, get_variant, list_variants
from levit_tf.weights.assignment import TransferReport

__version__ = "0.1.0"

__all__ = [
    "InputRange",
    "LeViT",
    "LeViT128",
    "LeViT128S",
    "LeViT192",
    "LeViT256",
    "LeViT384",
    "LeViTMini",
    "ModelProperties",
    "PyramidBackbone",
    "TransferReport",
    "Variant",
    "backbone",
    "count_flops",
    "decode_predictions",
    "digits",
    "feature_extractor",
    "fuse",
    "get_variant",
    "keypoint_network",
    "list_variants",
    "model_properties",
    "preprocess_input",
    "reset_classifier",
    "summary_table",
    "transfer_weights",
    "with_heads",
    "with_input_size",
    "with_properties",
]
