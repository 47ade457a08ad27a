"""The common form of every exported model file: functions of plain RGB pictures."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from levit_common.arrays import softmax
from levit_common.regular_files import ModelFileError, first_line
from levit_common.shipped_names import (
    INPUT,
    LOGITS,
    PROBABILITIES,
    SIGNATURE,
    step_signature,
)

_MAX_VALUES = 1 << 28  # per picture: 1 GB in float32, 9,500x9,500 RGB pixels


@dataclasses.dataclass(frozen=True)
class Network:
    """The network in a model file.

    Attributes:
      source: the file.
      outputs: function from pixels 0..255, float32 (n, height, width, channels), to float32 arrays
        (n, ...) by name. A classifier has `LOGITS`, `PROBABILITIES` or both.
      input_shape: (batch, height, width, channels). The batch is None for any size, else the only
        size; height and width are None if they are open.
      output_shapes: shapes of the outputs by name, including the batch.
      class_names: class names stored in the file; None if there are none.
      opened: the underlying object, for further inspection: an `OpenedKeras`, or an object of
        TensorFlow, LiteRT or ONNX Runtime.
    """

    source: str
    outputs: Callable[[np.ndarray], dict[str, np.ndarray]]
    input_shape: tuple[int | None, int | None, int | None, int]
    output_shapes: Mapping[str, Sequence[int | None]]
    class_names: tuple[str, ...] | None = None
    opened: Any = None

    @property
    def classes(self) -> int | None:
        """Number of classes; None if the network is not a classifier."""
        shapes = [self.output_shapes.get(name) for name in (LOGITS, PROBABILITIES)]
        return next((int(s[1]) for s in shapes if s is not None and len(s) == 2 and s[1]), None)

    def run(self, images: np.ndarray) -> np.ndarray:
        """Returns a classifier's probabilities (n, classes) for plain RGB pictures."""
        return probabilities_in(self.outputs(images))


def probabilities_in(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the probabilities (n, classes) in the outputs of a classifier."""
    return outputs[PROBABILITIES] if PROBABILITIES in outputs else softmax(outputs[LOGITS])


def checked(network: Network) -> Network:
    """Checks the input size of a network; the returned network names its file in errors."""
    side = [size for size in network.input_shape[1:] if size is not None]
    if 0 in network.input_shape or math.prod(side) > _MAX_VALUES:
        raise ModelFileError(
            f"{network.source}: takes pictures of shape {network.input_shape}. Expected at least "
            f"one value, and at most {_MAX_VALUES:,} in a picture."
        )

    def outputs(images):
        try:
            return network.outputs(images)
        except Exception as error:  # errors of the libraries that run it
            raise ModelFileError(f"{network.source}: cannot be run. {first_line(error)}") from error

    return dataclasses.replace(network, outputs=outputs)


def unexpected_signature(found: dict, path: Path) -> ModelFileError:
    """Returns an error about a file with other signatures than those of this package.

    Args:
      found: signature name -> (names of inputs, names of outputs).
      path: the file.
    """
    if step_signature(0) in found:
        return ModelFileError(
            f"{path}: a dynamic file of {len(found)} steps, for apps that stop when their time is "
            "up and so call the steps themselves. Give the file that was written beside it, which "
            "decides by itself: the same name without -steps."
        )
    listed = "; ".join(
        f"{name!r}: {sorted(inputs)} -> {sorted(outputs)}"
        for name, (inputs, outputs) in found.items()
    )
    return ModelFileError(
        f"{path}: expected a signature {SIGNATURE!r} with the one input {INPUT!r} and the "
        f"outputs {LOGITS!r} and {PROBABILITIES!r}, as this package exports. "
        f"Found: {listed or 'none'}"
    )


def image_shape(
    shape: Sequence[int | None], path: Path
) -> tuple[int | None, int | None, int | None, int]:
    """Returns the input shape of a network that takes images.

    Raises:
      ModelFileError: the input is not a batch of images, or the number of channels is not fixed.
    """
    shape = tuple(shape)
    if len(shape) != 4 or shape[3] is None:
        raise ModelFileError(
            f"{path}: expected an input of shape (batch, height, width, channels) with a fixed "
            f"number of channels. Found: {shape}"
        )
    return shape
