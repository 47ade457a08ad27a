"""Finds the layers of a LeViT in other formats, by the names that exporters keep.

The comparison across formats covers the outputs of the stem's convolutions, of every attention and
MLP, of the sums after them, and the pooled features. The train form has a layer for each of them;
in the deploy graph, the output of an attention or MLP is that of its last projection.
"""

from __future__ import annotations

import re

from converters.deploy import NORMALIZE
from levit_tf.names import CLASSIFIER, PRE_LOGITS

_BRANCH = r"stages_\d+_(?:blocks_\d+|downsample)_(?:attn|mlp)"
# TensorFlow adds a number to repeated scopes: stem_conv1_1 is stem_conv1.
_LAYER = re.compile(rf"(stem_conv\d+|{_BRANCH}(?:_add)?|{PRE_LOGITS})(?:_proj|_ln2)?(?:_\d+)?")

_BLOCK = re.compile(rf"({NORMALIZE}|{_BRANCH}|{PRE_LOGITS}|{CLASSIFIER})(?:_.*)?")
_STEM = re.compile(r"stem_(?:conv|act)(\d+)(?:_.*)?")


def layer_in(path: str) -> str | None:
    """Returns the layer that a tensor or node belongs to.

    Args:
      path: name in Keras, TensorFlow, TFLite or ONNX, with scopes separated by slashes, such as
        `deploy_1/LeViT256_1/stages_0_blocks_0_attn_add_1/Add`.

    Returns:
      A layer name of the train form, such as `stages_0_blocks_0_attn_add`; None if it belongs to no
      layer that is compared.
    """
    for part in path.split("/"):
        match = _LAYER.fullmatch(part)
        if match:
            return match[1]
    return None


def block_in(path: str) -> str | None:
    """Returns the part of the network, of one or more layers, that a tensor or node belongs to.

    Args:
      path: as for `layer_in`.

    Returns:
      `normalize`; `stem_conv1` and so on, including padding and activation;
      `stages_0_blocks_0_attn`, including projections and bias; `stages_0_blocks_0_mlp`;
      `pre_logits`; `classifier`; None for anything else.
    """
    for part in path.split("/"):
        if match := _BLOCK.fullmatch(part):
            return match[1]
        if match := _STEM.fullmatch(part):
            return f"stem_conv{match[1]}"
    return None
