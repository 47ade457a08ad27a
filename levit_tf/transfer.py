"""`transfer_weights()`: copies the weights of one LeViT into another with other inputs or classes.

The number of classes, the input channels and the input size may differ, as fine-tuning needs; any
other difference is an error.
"""

from __future__ import annotations

import os

import keras
import numpy as np

from levit_tf.keras_graph.introspection import grids_of, variant_of
from levit_tf.keras_graph.properties import copy_notes
from levit_tf.weights.assignment import SourceArrays, TransferReport, assign
from levit_tf.weights.keras_files import load_keras_file
from levit_tf.weights.pytorch_names import HEAD_PREFIXES, name_table

STEM_KERNEL = "stem_conv1/linear/kernel"


def transfer_weights(
    source: keras.Model | str | os.PathLike, target: keras.Model
) -> TransferReport:
    """Copies the weights of a LeViT into another of the same variant, by name.

    - another input size: each bias table is resized over its (|dy|, |dx|) grid;
    - other input channels: the first kernel is summed to one channel, or its channels are repeated
      and scaled by (channels before / channels after), as timm does;
    - what the source has noted about its input, classes and origin is copied with the weights
      (`levit_tf.model_properties`);
    - a head with other classes, or one that the source does not have, stays as it is in `target`.

    Args:
      source: a LeViT in train form, or its `.keras` file.
      target: a LeViT in train form; its weights are overwritten.

    Returns:
      A report of what was copied, resized, adapted, left as initialised and dropped.

    Raises:
      ValueError: the models differ in any other way, or one is not a LeViT in train form; every
        difference is listed, and `target` is not changed.
      TypeError: `source` or `target` is not a model.
      FileNotFoundError: there is no such file.
    """
    if isinstance(source, str | os.PathLike):
        source = load_keras_file(source)
    for name, model in (("source", source), ("target", target)):
        if not isinstance(model, keras.Model):
            raise TypeError(
                f"transfer_weights: {name} must be a Keras model. Received: {type(model).__name__}"
            )
    variant = variant_of(target)
    grids = grids_of(source)
    arrays = {w.path: keras.ops.convert_to_numpy(w) for w in source.weights}
    shapes = {w.path: tuple(w.shape) for w in target.weights}
    kernel, wanted = arrays.get(STEM_KERNEL), shapes[STEM_KERNEL]
    is_adapted = kernel is not None and kernel.shape[2] != wanted[2]
    if is_adapted:
        arrays[STEM_KERNEL] = _adapt_channels(kernel, wanted[2])
    known = {entry.path for entry in name_table(variant)}
    new_heads = [head for head in HEAD_PREFIXES if _is_new(head, arrays, shapes)]
    unexpected = [f"{name}, shape {arrays[name].shape}" for name in arrays if name not in known]
    known_arrays = SourceArrays(f"Model {source.name!r}", arrays, grids, unexpected)
    report = assign(target, variant, known_arrays, new_heads)
    has_top = f"{HEAD_PREFIXES[0]}linear/bias" in shapes
    copy_notes(source, target, with_class_names=has_top and HEAD_PREFIXES[0] not in new_heads)
    if is_adapted:
        report.copied.remove(STEM_KERNEL)
        report.adapted.append(STEM_KERNEL)
    return report


def _is_new(head: str, arrays: dict[str, np.ndarray], shapes: dict[str, tuple]) -> bool:
    """Returns whether the target's head has other classes than the source's, or no counterpart."""
    bias = f"{head}linear/bias"  # (classes,)
    return bias in shapes and (bias not in arrays or arrays[bias].shape != shapes[bias])


def _adapt_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Adapts a kernel: (3, 3, in, out) -> (3, 3, channels, out), with responses of similar size."""
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    repeats = -(-channels // kernel.shape[2])
    repeated = np.tile(kernel, (1, 1, repeats, 1))[:, :, :channels]
    return (repeated * kernel.shape[2] / channels).astype(kernel.dtype)
