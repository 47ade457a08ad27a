"""Reads the graph of a functional model: the one place that knows Keras' private nodes.

Public Keras tells the layers of a model, but not which of a shared layer's calls belongs to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras


class Call(NamedTuple):
    """One call in a graph.

    Attributes:
      operation: the layer, or the operation without state.
      inputs: its Keras tensors.
      outputs: what it returned, flat.
    """

    operation: Any
    inputs: list[keras.KerasTensor]
    outputs: list[keras.KerasTensor]


def calls_of(model: keras.Model) -> list[Call]:
    """The calls of a functional model in an order in which they can run, without its inputs."""
    return [
        Call(node.operation, list(node.input_tensors), list(node.output_tensors))
        for depth in sorted(model._nodes_by_depth, reverse=True)
        for node in model._nodes_by_depth[depth]
        if not node.is_input
    ]


def copied(
    model: keras.Model, call: Callable, at_input: Callable[[keras.KerasTensor], Any] | None = None
) -> keras.Model:
    """Copies a model, calling something else in the place of its layers.

    Not with the same layers: `layer.output` would go on belonging to the old model.

    Args:
      model: a functional model of one input.
      call: takes the copy of a layer, and the arguments that it was called with, and returns its
        outputs.
      at_input: what is put between the input and everything that takes it.

    Returns:
      A functional model of the same name, with layers and weights of its own.
    """
    old = model.inputs[0]
    image = keras.Input(batch_shape=old.shape, dtype=old.dtype, name=old.name)
    first = image if at_input is None else at_input(image)
    copies = []

    def copy(layer):
        if not isinstance(layer, keras.layers.Layer):
            return layer  # an operation without state
        copies.append((type(layer).from_config(layer.get_config()), layer))
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
    """Gives copies of layers the weights of these; those from (copy, layer) that were called."""
    for copy, layer in copies:
        if not copy.built:
            continue
        copy.set_weights(layer.get_weights())
        if isinstance(copy, keras.layers.Normalization):
            copy.finalize_state()  # it keeps what it computes with beside its weights
