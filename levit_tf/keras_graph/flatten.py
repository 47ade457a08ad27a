"""Flattens a functional or Sequential model: nested models are replaced by their layers."""

from __future__ import annotations

import collections
import re

import keras

from levit_tf.keras_graph.graph_calls import copied

# Layers that are only active in training: all random layers of Keras except RandomCrop, which
# always crops.
_INACTIVE = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.ActivityRegularization,
)
_RANDOM = re.compile(r"Random(?!Crop)|RandAugment|AugMix|MixUp|CutMix")


def is_inactive(layer: object) -> bool:
    """Returns whether a layer only passes on its input when the model is not in training."""
    if not isinstance(layer, keras.layers.Layer):
        return False
    is_random = type(layer).__module__.startswith("keras.") and _RANDOM.match(type(layer).__name__)
    return isinstance(layer, _INACTIVE) or bool(is_random)


def flatten(model: keras.Model) -> keras.Model:
    """Replaces models nested in a model by their layers.

    Args:
      model: a functional model or a built `keras.Sequential`, whose layers may be such models.

    Returns:
      A functional model for inference that shares the layers of `model`; the result of
      `as_functional` if nothing is nested. `model` is not changed. `layer.output` of a shared layer
      still belongs to its first graph; use `graph_calls` for the outputs in this one. Nested models
      whose layers have the same names, such as two networks of an ensemble, are kept.

    Raises:
      ValueError: `model` is of another kind, or a Sequential that was never built.
    """
    model = as_functional(model)
    inner = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    if not inner or not all(map(_can_be_flattened, inner)):
        return model
    names = collections.Counter(layer.name for layer in model.layers if layer not in inner)
    flat = {id(layer): flatten(layer) for layer in inner}
    for layer in flat.values():
        names.update(part.name for part in layer.layers if not _is_input(part))
    if max(names.values()) > 1:
        return model

    def call(layer, *args, **kwargs):
        if id(layer) not in flat:
            return layer(*args, **kwargs)
        kwargs.pop("training", None)  # else it is passed to layers that do not accept it
        return flat[id(layer)].call(*args, **kwargs)  # __call__ would add a nested model again

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def as_functional(model: keras.Model) -> keras.Model:
    """Returns a functional model that is not compiled, whose only input or output is no list.

    A model of another form becomes one with the same layers: a built Sequential, a model of
    `inputs=[x], outputs=[y]`, or a compiled one, since its loss and metrics cannot be copied.

    Raises:
      ValueError: `model` is of another kind, or a Sequential that was never built.
    """
    if isinstance(model, keras.Sequential):
        if not model.built or not getattr(model, "inputs", None):
            raise ValueError(
                f"Model {model.name!r} is a Sequential of unknown input: begin it with "
                "keras.Input((height, width, channels))."
            )
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if not isinstance(model, keras.Model) or not hasattr(model, "operations"):
        raise ValueError(
            "Expected a functional keras.Model or a keras.Sequential, since the graph of other "
            f"models cannot be read. Received: {type(model).__name__}"
        )
    inputs, outputs = (
        tensors[0] if isinstance(tensors, (list, tuple)) and len(tensors) == 1 else tensors
        for tensors in (model.input, model.output)
    )
    if model.compiled or inputs is not model.input or outputs is not model.output:
        return keras.Model(inputs, outputs, name=model.name)
    return model


def with_float_input(model: keras.Model) -> keras.Model:
    """Returns the functional model of one input that takes floats; a copy if `model` does not.

    Keras rounds what it gives to an integer input down. Resized pictures lose their fractions, and
    a network without its scaling layers nearly everything.

    Raises:
      ValueError: see `as_functional`.
    """
    functional = as_functional(model)
    if len(model.inputs) != 1 or keras.backend.is_float_dtype(model.inputs[0].dtype):
        return functional
    return copied(functional, dtype="float32")


def _can_be_flattened(model: keras.Model) -> bool:
    return isinstance(model, keras.Sequential) or hasattr(model, "operations")


def _is_input(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.InputLayer)
