"""`transfer_weights()`: weights of one LeViT into another that differs at its edges.

Other class counts, input channels and input sizes are the differences that fine-tuning needs; any
other is an error. Variables are matched by path, never by position.
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from levit_tf.attention_bias import resize_attention_bias
from levit_tf.layers import Attention
from levit_tf.model import CLASSIFIER

STEM_KERNEL = "stem_conv1/linear/kernel"


@dataclasses.dataclass
class TransferReport:
    """What `transfer_weights` did, as lists of variable paths of the target (or the source).

    Attributes:
      copied: taken as they are.
      resized: attention bias tables carried over to another grid.
      adapted: the first convolution, summed or spread over other input channels.
      initialised: not in the source, or for other classes: left as freshly initialised.
      dropped: heads of the source that the target does not have.
    """

    copied: list[str] = dataclasses.field(default_factory=list)
    resized: list[str] = dataclasses.field(default_factory=list)
    adapted: list[str] = dataclasses.field(default_factory=list)
    initialised: list[str] = dataclasses.field(default_factory=list)
    dropped: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        lines = []
        for field in dataclasses.fields(self):
            paths = getattr(self, field.name)
            shown = "" if field.name == "copied" or not paths else f": {', '.join(paths)}"
            lines.append(f"{field.name} {len(paths)}{shown}")
        return "\n".join(lines)


def transfer_weights(source: keras.Model, target: keras.Model) -> TransferReport:
    """Copies the weights of a LeViT into another of the same variant.

    - another input size: each bias table is resized over its (|dy|, |dx|) grid;
    - other input channels: the first kernel is summed to one channel, or its channels are repeated
      and scaled by (channels before / channels after), as timm does;
    - other classes, or heads that the source does not have: those stay as they are in `target`.

    Args:
      source: a LeViT in train form.
      target: a LeViT in train form; its weights are overwritten.

    Returns:
      A `TransferReport`.

    Raises:
      ValueError: the models differ in any other way; every difference is listed, and `target`
        is not changed.
    """
    report = TransferReport()
    values = {}
    problems = []
    source_variables = {variable.path: variable for variable in source.weights}
    for variable in target.weights:
        path = variable.path
        is_head = path.startswith(f"{CLASSIFIER}/")
        found = source_variables.pop(path, None)
        if found is None:
            if is_head:
                report.initialised.append(path)
            else:
                problems.append(f"{path} is missing in the source")
        elif _is_bias_table(path) and found.shape[0] == variable.shape[0]:
            grids = _grid(source, path), _grid(target, path)
            values[path] = resize_attention_bias(_numpy(found), *grids)
            (report.copied if grids[0] == grids[1] else report.resized).append(path)
        elif found.shape == variable.shape:
            values[path] = _numpy(found)
            report.copied.append(path)
        elif is_head and found.shape[:-1] == variable.shape[:-1]:
            report.initialised.append(path)
        elif path == STEM_KERNEL and found.shape[-1] == variable.shape[-1]:
            values[path] = _adapt_channels(_numpy(found), variable.shape[2])
            report.adapted.append(path)
        else:
            problems.append(
                f"{path} has shape {tuple(found.shape)} in the source and "
                f"{tuple(variable.shape)} in the target"
            )
    for path in source_variables:
        if path.startswith(f"{CLASSIFIER}/"):
            report.dropped.append(path)
        else:
            problems.append(f"{path} is missing in the target")
    if problems:
        raise ValueError(
            f"Weights of {source.name!r} cannot be transferred to {target.name!r}: only classes, "
            "input channels and input size may differ.\n  " + "\n  ".join(problems)
        )
    for variable in target.weights:
        if variable.path in values:
            variable.assign(values[variable.path])
    return report


def _numpy(variable: keras.Variable) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable)


def _is_bias_table(path: str) -> bool:
    return path.endswith("/attention_biases")


def _grid(model: keras.Model, path: str) -> tuple[int, int]:
    layer = model.get_layer(path.split("/")[0])
    if not isinstance(layer, Attention):
        raise ValueError(f"Layer {layer.name!r} of {model.name!r} is not a LeViT attention layer.")
    return layer.grid


def _adapt_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """(3, 3, in, out) -> (3, 3, channels, out), with responses of about the same size."""
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    repeats = -(-channels // kernel.shape[2])
    repeated = np.tile(kernel, (1, 1, repeats, 1))[:, :, :channels]
    return (repeated * kernel.shape[2] / channels).astype(kernel.dtype)
