"""Reads the graph of a functional model; the only module that uses Keras' private nodes.

Keras' public interface lists the layers of a model, but not which calls of a shared layer belong
to the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras


class Call(NamedTuple):
    """One call in a graph.

    Attributes:
      operation: the layer, or the stateless operation.
      inputs: Keras tensors that the call takes.
      outputs: Keras tensors that the call returned, as a flat list.
    """

    operation: Any
    inputs: list[keras.KerasTensor]
    outputs: list[keras.KerasTensor]


def calls_of(model: keras.Model) -> list[Call]:
    """Returns the calls of a functional model in an executable order, without its inputs."""
    return [
        Call(node.operation, list(node.input_tensors), list(node.output_tensors))
        for depth in sorted(model._nodes_by_depth, reverse=True)
        for node in model._nodes_by_depth[depth]
        if not node.is_input
    ]


def copied(
    model: keras.Model,
    call: Callable = lambda layer, *args, **kwargs: layer(*args, **kwargs),
    at_input: Callable[[keras.KerasTensor], Any] | None = None,
    dtype: str | None = None,
    shape: Sequence[int | None] | None = None,
    config_of: Callable = lambda layer: layer.get_config(),
) -> keras.Model:
    """Copies a model and calls a function in place of each of its layers.

    The layers are copied too, because `layer.output` would still belong to the old model.

    Args:
      model: a functional model with one input.
      call: function that takes the copy of a layer and the arguments of its call, and returns the
        outputs.
      at_input: function that is applied to the input before all other layers.
      dtype: dtype of the input; None for that of `model`.
      shape: shape of the input with the batch; None for that of `model`.
      config_of: function that takes a layer and returns the configuration of its copy.

    Returns:
      A functional model of the same name, with its own layers and weights.
    """
    old = model.inputs[0]
    image = keras.Input(batch_shape=shape or old.shape, dtype=dtype or old.dtype, name=old.name)
    first = image if at_input is None else at_input(image)
    copies = []

    def copy(layer):
        if not isinstance(layer, keras.layers.Layer):
            return layer  # a stateless operation
        copies.append((type(layer).from_config(config_of(layer)), layer))
        return copies[-1][0]

    def call_on_first(layer, *args, **kwargs):
        args, kwargs = keras.tree.map_structure(
            lambda value: first if value is image else value, (args, kwargs)
        )
        return call(layer, *args, **kwargs)

    result = keras.models.clone_model(
        model,
        input_tensors=keras.tree.pack_sequence_as(model.input, [image]),
        clone_function=copy,
        call_function=call_on_first,
    )
    copy_weights(copies)
    return result


def copy_weights(copies: Sequence[tuple[keras.layers.Layer, keras.layers.Layer]]) -> None:
    """Copies weights for pairs of (copy, layer); copies that were never called are skipped."""
    for copy, layer in copies:
        if not copy.built:
            continue
        copy.set_weights(layer.get_weights())
        if isinstance(copy, keras.layers.Normalization):
            copy.finalize_state()  # updates values that it derives from its weights
