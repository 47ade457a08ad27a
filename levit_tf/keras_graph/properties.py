"""Properties that a Keras model stores about itself: its input, its outputs, and its origin.

Everything is read from the graph. When a LeViT is built, it stores notes
(`levit_tf.keras_graph.notes`): the pixel range that its stem expects, the class names, its origin.
Layers before the stem are probed with values: a model that begins with `Rescaling`, `Normalization`
or `levit_tf.preprocess_input` takes plain pixels, whatever its stem expects.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras

from levit_lite.class_names import check_class_names, composed, imagenet_class_names
from levit_tf.keras_graph.flatten import as_functional, flatten
from levit_tf.keras_graph.front import image_shape, input_range_of, input_range_texts, range_in
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
from levit_tf.preprocessing import InputRange, input_range_named

_IMAGENET = "imagenet"  # stands for the names of its thousand classes

# Layers that may follow the logits, as they do not change which output belongs to which class.
_FOLLOWING = {"Activation", "Softmax", "Sigmoid", "Identity", "Dropout", "Cast", "Rescaling"}


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
    height, width, channels = image_shape(flat)
    calls = calls_of(flat)
    origin = next((c.operation for c in calls if note_kind(c.operation) == ORIGIN), None)
    return ModelProperties(
        input_range=input_range_of(flat),
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
    *_, channels = image_shape(functional)
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
        texts[INPUT] = input_range_texts(input_range, image_shape(model)[2])
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
    expected = range_in(read_note(stem)) if stem is not None and read_note(stem) else None
    channels = image_shape(target)[2]
    if expected is not None and len(expected.mean) != channels:
        expected = None  # other channels: only `target` knows their range
    write_notes(
        target,
        class_names=found.class_names if with_class_names else None,
        input_range=expected,
        origin=found.origin,
    )


def class_name_texts(names: Sequence[str]) -> list[str]:
    """Returns class names in the form that a note stores."""
    return [_IMAGENET] if list(names) == imagenet_class_names() else list(names)


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
    output = next((x for x in model.outputs if id(x) in names_of), None)
    if output is None:
        return None
    found, imagenet = names_of[id(output)], imagenet_class_names()
    if found == [_IMAGENET] and output.shape[-1] == len(imagenet):
        return tuple(imagenet)
    return tuple(map(composed, found))


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
