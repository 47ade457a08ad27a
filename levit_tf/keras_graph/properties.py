"""Properties that a Keras model stores about itself: its input, its outputs, and its origin.

Everything is read from the graph. When a LeViT is built, it stores notes
(`levit_tf.keras_graph.notes`): the pixel range that its stem expects, the class names, its origin.
Layers before the stem are probed with values: a model that begins with `Rescaling`, `Normalization`
or `levit_tf.preprocess_input` takes plain pixels, whatever its stem expects.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np

from levit_lite.class_names import check_class_names, imagenet_class_names
from levit_tf.keras_graph.flatten import as_functional, flatten, is_inactive
from levit_tf.keras_graph.graph_calls import Call, calls_of, copied
from levit_tf.keras_graph.notes import (
    CLASSES,
    INPUT,
    ORIGIN,
    note_kind,
    note_layer,
    read_note,
    write_note,
)
from levit_tf.preprocessing import INPUT_RANGES, InputRange, input_range_named

_IMAGENET = "imagenet"  # stands for the names of its thousand classes
_SEPARATOR = "std"  # separates means and standard deviations in a note

# Operations that change all pixels in the same way; their combined effect is measured.
_SCALING = {"Rescaling", "Normalization", "Add", "Subtract", "Multiply", "Divide", "TrueDivide"}
# Operations that only move pixels.
_MOVING = {"Resizing", "CenterCrop", "RandomCrop", "ZeroPadding2D"}
_PASSING = {"Identity", "Cast", "ConvertToTensor"}
# Layers that may follow the logits, as they do not change which output belongs to which class.
_FOLLOWING = {"Activation", "Softmax", "Sigmoid", "Identity", "Dropout", "Cast", "Rescaling"}
# Older networks of this package have no notes; they are recognised by an input of this name before
# one of these layers.
_UNNOTED_INPUT, _UNNOTED_FIRST = "images", {"stem_conv1", "stem_conv1_pad", "stem_pad"}
_PROBES = (0.0, 51.0, 255.0)
_TOLERANCE = 1e-3
_LARGEST_NORMALIZED = 10.0  # standard deviations


@dataclasses.dataclass(frozen=True)
class ModelProperties:
    """Result of `model_properties`.

    Attributes:
      input_range: range of the model's input values; None if it is not known.
      input_size: (height, width) in pixels; None if a side is not fixed.
      channels: number of input channels.
      class_names: class names in the order of the outputs; None if they are not known. For a
        network that finds keypoints, the names of the joints.
      origin: text that says where the weights come from; None if it is not known.
    """

    input_range: InputRange | None
    input_size: tuple[int, int] | None
    channels: int
    class_names: tuple[str, ...] | None
    origin: str | None


def model_properties(model: keras.Model) -> ModelProperties:
    """Reads the properties of a model's input and outputs.

    Args:
      model: a functional model or a built Sequential with one image as its input: a LeViT in train
        or deploy form, a model that contains one, or any other.

    Raises:
      ValueError: the model is of another kind, or does not have exactly one input of shape (batch,
        height, width, channels).
    """
    flat = flatten(model)
    height, width, channels = _image_shape(flat)
    calls = calls_of(flat)
    origin = next((c.operation for c in calls if note_kind(c.operation) == ORIGIN), None)
    return ModelProperties(
        input_range=_input_range(flat, channels),
        input_size=None if None in (height, width) else (height, width),
        channels=channels,
        class_names=_class_names(flat, calls),
        origin=" ".join(read_note(origin)) or None if origin else None,
    )


def known_input_range(model: keras.Model, given: str | None, source: str) -> InputRange:
    """Returns the range of a model's input, from its graph or else from a flag.

    Args:
      model: see `model_properties`.
      given: value of `--input_range`, a name in `INPUT_RANGES`; None if it is not given.
      source: the model's file, for error messages.

    Raises:
      ValueError: neither the graph nor the flag defines the range, or they disagree; or the input
        of the model has another shape.
    """
    found = model_properties(model)
    if given is None:
        if found.input_range is None:
            raise ValueError(
                f"{source}: nothing in the model says what its input holds. Say it by "
                "--input_range=pixels (RGB 0..255), unit (0..1), symmetric (-1..1) or normalized "
                "(levit_tf.preprocess_input); or once and for all: levit_tf.with_properties(model, "
                "input_range=...).save(...)"
            )
        return found.input_range
    wanted = input_range_named(given).of_channels(found.channels)
    if found.input_range is not None and found.input_range != wanted:
        raise ValueError(
            f"{source}: --input_range={given} contradicts the model, whose input holds: "
            f"{found.input_range}. Leave the flag out, or change the note in the model: "
            "levit_tf.with_properties(model, input_range=...).save(...)"
        )
    return wanted


def with_properties(
    model: keras.Model,
    *,
    class_names: Sequence[str] | None = None,
    input_range: InputRange | str | None = None,
    origin: str | None = None,
) -> keras.Model:
    """Copies a model with other notes about its input, its outputs and its origin.

    Args:
      model: see `model_properties`.
      class_names: class names in the order of the outputs. A model with a single sigmoid output has
        two names, for 0 and 1.
      input_range: range of the input values: a name in `levit_tf.preprocessing.INPUT_RANGES`, or an
        `InputRange`. It does not change the computation; it tells callers how to prepare the input.
      origin: text that says where the weights come from.

    Returns:
      A functional model of the same name, with its own layers and weights. Properties given as None
      are not changed.

    Raises:
      ValueError: the model is of another kind, the number of class names is not the number of
        outputs, or the input range is unknown.
    """
    functional = as_functional(model)
    *_, channels = _image_shape(functional)
    notes, at_output = {}, None
    if input_range is not None:
        notes[INPUT] = note_layer(INPUT, input_range_texts(input_range, channels))
    if origin is not None:
        notes[ORIGIN] = note_layer(ORIGIN, [origin])
    if class_names is not None:
        names = _checked_names(functional, class_names)
        at_output = note_layer(CLASSES, class_name_texts(names))
    dropped = {*notes, CLASSES} if at_output else set(notes)
    last = functional.operations[-1]
    is_before_last = at_output is not None and isinstance(
        last, (keras.layers.Activation, keras.layers.Softmax)
    )

    def call(layer, *args, **kwargs):
        if note_kind(layer) in dropped:
            return args[0]
        if layer.name == last.name and is_before_last:
            return layer(at_output(args[0]), *args[1:], **kwargs)
        return layer(*args, **kwargs)

    def at_input(image):
        for layer in notes.values():
            image = layer(image)
        return image

    noted = copied(functional, call, at_input)
    if at_output is None or is_before_last:
        return noted
    outputs = dict(noted.output) if isinstance(noted.output, dict) else noted.output
    if isinstance(outputs, dict):  # with two heads: the class head
        first = next(iter(outputs))
        outputs[first] = at_output(outputs[first])
    else:
        outputs = at_output(outputs)
    return keras.Model(noted.input, outputs, name=model.name)


def write_notes(
    model: keras.Model,
    *,
    class_names: Sequence[str] | None = None,
    input_range: InputRange | str | None = None,
    origin: str | None = None,
) -> None:
    """Changes the notes of a LeViT of this package in place; see `with_properties`."""
    texts = {}
    if class_names is not None:
        texts[CLASSES] = class_name_texts(_checked_names(model, class_names))
    if input_range is not None:
        texts[INPUT] = input_range_texts(input_range, _image_shape(model)[2])
    if origin is not None:
        texts[ORIGIN] = [origin]
    for layer in model.layers:
        if note_kind(layer) in texts:
            write_note(layer, texts[note_kind(layer)])


def copy_notes(source: keras.Model, target: keras.Model, *, with_class_names: bool) -> None:
    """Copies the notes of a LeViT to another one that has received its weights.

    Args:
      source: the LeViT whose notes are copied.
      target: another LeViT of the same variant.
      with_class_names: whether `target` has the same classes as `source`.
    """
    found = model_properties(source)
    # The range that the stem of `source` expects, whatever layers are before it.
    stem = next((layer for layer in source.layers if note_kind(layer) == INPUT), None)
    expected = _range_in(read_note(stem)) if stem is not None and read_note(stem) else None
    channels = _image_shape(target)[2]
    if expected is not None and len(expected.mean) != channels:
        expected = None  # other channels: only `target` knows their range
    write_notes(
        target,
        class_names=found.class_names if with_class_names else None,
        input_range=expected,
        origin=found.origin,
    )


def input_range_texts(input_range: InputRange | str, channels: int) -> list[str]:
    """Returns an input range in the form that a note stores."""
    if isinstance(input_range, str):
        input_range = input_range_named(input_range)
    here = input_range.of_channels(channels)
    return [*map(repr, here.mean), _SEPARATOR, *map(repr, here.std)]


def class_name_texts(names: Sequence[str]) -> list[str]:
    """Returns class names in the form that a note stores."""
    return [_IMAGENET] if list(names) == imagenet_class_names() else list(names)


def _image_shape(model: keras.Model) -> tuple[int | None, int | None, int]:
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
    channels = _image_shape(model)[2]
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
            expected = _range_in(texts) if texts else None
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


def _input_range(model: keras.Model, channels: int) -> InputRange | None:
    """Derives the range of the input from the layers before the network."""
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


def _range_in(texts: Sequence[str]) -> InputRange:
    middle = list(texts).index(_SEPARATOR)
    return InputRange(tuple(map(float, texts[:middle])), tuple(map(float, texts[middle + 1 :])))


def _class_names(model: keras.Model, calls: Sequence[Call]) -> tuple[str, ...] | None:
    """Returns the noted class names, if they belong to an output, or the names of the joints."""
    joints = next((c.operation.joints for c in calls if hasattr(c.operation, "joints")), ())
    if joints:
        return tuple(joints)
    names_of = {}  # id of a tensor -> names of its columns
    for call in calls:
        if note_kind(call.operation) == CLASSES:
            texts = read_note(call.operation)
        elif type(call.operation).__name__ in _FOLLOWING and len(call.inputs) == 1:
            texts = names_of.get(id(call.inputs[0]))
        else:
            continue
        if texts:
            names_of[id(call.outputs[0])] = texts
    found = next((names_of[id(x)] for x in model.outputs if id(x) in names_of), None)
    if found is None:
        return None
    imagenet = imagenet_class_names()
    columns = {x.shape[-1] for x in model.outputs}
    if found == [_IMAGENET] and columns == {len(imagenet)}:
        return tuple(imagenet)
    return tuple(found)


def _checked_names(model: keras.Model, names: Sequence[str]) -> list[str]:
    shapes = {tuple(x.shape) for x in model.outputs}
    is_classifier = len(shapes) == 1 and len(next(iter(shapes))) == 2
    if not is_classifier or (len(model.outputs) > 1 and not isinstance(model.output, dict)):
        raise ValueError(
            f"Model {model.name!r} has no output (batch, classes) for class names to apply to. "
            f"Found: {', '.join(map(str, shapes))}"
        )
    classes = next(iter(shapes))[1]
    return check_class_names(names, 2 if classes == 1 else classes, f"Model {model.name!r}")
