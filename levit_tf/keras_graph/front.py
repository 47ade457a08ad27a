"""The front of a model, which is the layers before the network itself, and the range of its input.

A network notes the range that it expects (`levit_tf.keras_graph.notes`). Layers before it are
probed with values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np

from levit_tf.keras_graph.flatten import is_inactive
from levit_tf.keras_graph.graph_calls import calls_of
from levit_tf.keras_graph.notes import INPUT, note_kind, read_note
from levit_tf.preprocessing import INPUT_RANGES, InputRange, input_range_named

_SEPARATOR = "std"  # separates means and standard deviations in a note
# Operations that change all pixels in the same way; their combined effect is measured.
_SCALING = {"Rescaling", "Normalization", "Add", "Subtract", "Multiply", "Divide", "TrueDivide"}
# Operations that only move pixels.
_MOVING = {"Resizing", "CenterCrop", "RandomCrop", "ZeroPadding2D"}
_PASSING = {"Identity", "Cast", "ConvertToTensor"}
# Older networks of this package have no notes; they are recognised by an input of this name before
# one of these layers.
_UNNOTED_INPUT, _UNNOTED_FIRST = "images", {"stem_conv1", "stem_conv1_pad", "stem_pad"}
_PROBES = (0.0, 51.0, 255.0)
_TOLERANCE = 1e-3
_LARGEST_NORMALIZED = 10.0  # standard deviations


def image_shape(model: keras.Model) -> tuple[int | None, int | None, int]:
    """Returns (height, width, channels) of a model's only input; None for an open side.

    Raises:
      ValueError: the model has other inputs.
    """
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] is None:
        raise ValueError(
            f"Model {model.name!r}: expected one input, images of shape (batch, height, width, "
            f"channels). Found: {', '.join(map(str, shapes))}"
        )
    return shapes[0][1:]


class Front(NamedTuple):
    """The preprocessing layers between a model's input and the network itself.

    Attributes:
      operations: names of these layers and operations, including notes.
      expected: input range noted by the LeViT that follows; None if there is no note.
      slope: (channels,) float64: together the operations compute x * slope + offset.
      offset: (channels,) float64.
      is_scaling: whether the operations do nothing else, and treat each pixel separately.
      next_name: name of the operation after them.
    """

    operations: frozenset[str]
    expected: InputRange | None
    slope: np.ndarray
    offset: np.ndarray
    is_scaling: bool
    next_name: str | None


def front_of(model: keras.Model) -> Front:
    """Finds the operations after a flat model's input that treat all pixels in the same way."""
    calls = calls_of(model)
    channels = image_shape(model)[2]
    (tensor,) = model.inputs
    passed, expected, is_moving, is_changing, next_name = [], None, False, False, None
    while True:
        following = [call for call in calls if any(x is tensor for x in call.inputs)]
        operation = following[0].operation if len(following) == 1 else None
        kind = type(operation).__name__
        next_name = getattr(operation, "name", None)
        if operation is None or not (_keeps_values(operation) or kind in _SCALING):
            break
        if note_kind(operation) == INPUT:
            texts = read_note(operation)
            expected = range_in(texts) if texts else None
            break
        passed.append(operation.name)
        is_moving |= kind in _MOVING
        is_changing |= kind in _SCALING
        (tensor,) = following[0].outputs
    slope, offset = np.ones(channels), np.zeros(channels)
    if is_changing:
        slope, offset = _response(keras.Model(model.inputs[0], tensor), channels)
    return Front(frozenset(passed), expected, slope, offset, not is_moving, next_name)


def _keeps_values(operation) -> bool:
    return type(operation).__name__ in _MOVING | _PASSING or is_inactive(operation)


def _response(front: keras.Model, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Measures (slope, offset) per channel of layers that are linear in the pixels."""
    height, width = (side or 32 for side in front.inputs[0].shape[1:3])
    ends = []
    for value in (0.0, 255.0):
        image = np.full((1, height, width, channels), value, np.float32)
        y = keras.ops.convert_to_numpy(front(image, training=False)).astype(np.float64)
        rows, columns = y.shape[1:3]
        ends.append(y[0, rows // 2, columns // 2])  # the centre, away from padded borders
    return (ends[1] - ends[0]) / 255, ends[0]


def input_range_of(model: keras.Model) -> InputRange | None:
    """Derives the range of a flat model's input from its front; None if it is not known."""
    channels = image_shape(model)[2]
    front = front_of(model)
    if np.array_equal(front.slope, np.ones(channels)) and not front.offset.any():
        is_unnoted = (
            model.inputs[0].name == _UNNOTED_INPUT
            and front.next_name in _UNNOTED_FIRST
            and channels in (1, 3)
        )
        if front.expected is None and is_unnoted:
            return INPUT_RANGES["normalized"].of_channels(channels)
        return front.expected
    pixels = np.broadcast_to(np.array(_PROBES)[:, None], (len(_PROBES), channels))
    if front.expected is not None and len(front.expected.mean) == channels:
        wanted = front.expected.of_pixels(pixels)
        for candidate in INPUT_RANGES.values():
            # Accept the range that the front converts to what the network expects.
            here = candidate.of_channels(channels)
            found = here.of_pixels(pixels) * front.slope + front.offset
            if np.allclose(found, wanted, atol=_TOLERANCE):
                return here
    largest = np.abs(pixels * front.slope + front.offset).max()
    return INPUT_RANGES["pixels"].of_channels(channels) if largest < _LARGEST_NORMALIZED else None


def input_range_texts(input_range: InputRange | str, channels: int) -> list[str]:
    """Returns an input range in the form that a note stores."""
    if isinstance(input_range, str):
        input_range = input_range_named(input_range)
    here = input_range.of_channels(channels)
    return [*map(repr, here.mean), _SEPARATOR, *map(repr, here.std)]


def range_in(texts: Sequence[str]) -> InputRange:
    """Returns the input range in the texts of a note; the opposite of `input_range_texts`."""
    middle = list(texts).index(_SEPARATOR)
    return InputRange(tuple(map(float, texts[:middle])), tuple(map(float, texts[middle + 1 :])))
