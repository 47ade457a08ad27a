"""What every file that is shipped becomes: functions of plain RGB pictures."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from levit_common.arrays import softmax
from levit_common.regular_files import ModelFileError, first_line
from levit_common.shipped_names import INPUT, LOGITS, PROBABILITIES, SIGNATURE

_MAX_VALUES = 1 << 28  # in a picture: 1 GB in float32, 9,500x9,500 pixels of RGB


@dataclasses.dataclass(frozen=True)
class Network:
    """What a file holds.

    Attributes:
      source: the file.
      outputs: (n, height, width, channels) float32, plain pixels 0..255 -> float32 arrays by name,
        n first. A classifier has `LOGITS`, `PROBABILITIES` or both.
      input_shape: (batch or None, height, width, channels); a batch that is not None is the only n.
        None for a height or width that is open.
      output_shapes: of the outputs, by name, the batch first.
      class_names: those that the file has; None without.
      opened: what the file was opened as, for those who look further into it: an `OpenedKeras`, or
        what TensorFlow, LiteRT or ONNX Runtime make of it.
    """

    source: str
    outputs: Callable[[np.ndarray], dict[str, np.ndarray]]
    input_shape: tuple[int | None, int | None, int | None, int]
    output_shapes: Mapping[str, Sequence[int | None]]
    class_names: tuple[str, ...] | None = None
    opened: Any = None

    @property
    def classes(self) -> int | None:
        """Number of classes; None for what is no classifier."""
        shapes = [self.output_shapes.get(name) for name in (LOGITS, PROBABILITIES)]
        return next((int(s[1]) for s in shapes if s is not None and len(s) == 2 and s[1]), None)

    def run(self, images: np.ndarray) -> np.ndarray:
        """Plain RGB pictures -> (n, classes) probabilities, of a classifier."""
        return probabilities_in(self.outputs(images))


def probabilities_in(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """(n, classes) probabilities in what a classifier returns."""
    return outputs[PROBABILITIES] if PROBABILITIES in outputs else softmax(outputs[LOGITS])


def checked(network: Network) -> Network:
    """A network of pictures that can be, whose failures name the file."""
    side = [size for size in network.input_shape[1:] if size is not None]
    if 0 in network.input_shape or math.prod(side) > _MAX_VALUES:
        raise ModelFileError(
            f"{network.source}: takes pictures of shape {network.input_shape}. Expected at least "
            f"one value, and at most {_MAX_VALUES:,} in a picture."
        )

    def outputs(images):
        try:
            return network.outputs(images)
        except Exception as error:  # of the libraries that run it
            raise ModelFileError(f"{network.source}: cannot be run. {first_line(error)}") from error

    return dataclasses.replace(network, outputs=outputs)


def unexpected_signature(found: dict, path: Path) -> ModelFileError:
    """An error about a file of others.

    Args:
      found: signature name -> (names of inputs, names of outputs).
      path: the file.
    """
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
    """The shape of a network's input, if it is one of images.

    Raises:
      ModelFileError: it is of something else, or its channels are not fixed.
    """
    shape = tuple(shape)
    if len(shape) != 4 or shape[3] is None:
        raise ModelFileError(
            f"{path}: expected an input of shape (batch, height, width, channels) with a fixed "
            f"number of channels. Found: {shape}"
        )
    return shape
