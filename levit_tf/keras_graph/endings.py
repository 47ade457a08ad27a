"""Tells from the graph whether a classifier returns logits or probabilities."""

from __future__ import annotations

from typing import Any

import keras

from levit_tf.keras_graph.flatten import flatten, is_inactive
from levit_tf.keras_graph.graph_calls import Call, calls_of
from levit_tf.layers import Classifier
from levit_tf.names import EXIT_PREFIX, WHOLE

LINEAR, SOFTMAX, SIGMOID = "linear", "softmax", "sigmoid"
_ACTIVATIONS = {
    keras.activations.linear: LINEAR,
    keras.activations.softmax: SOFTMAX,
    keras.activations.sigmoid: SIGMOID,
}
# Stateless operations, such as keras.ops.softmax or keras.activations.sigmoid of a tensor.
_OPERATIONS = {"Softmax": SOFTMAX, "Sigmoid": SIGMOID}
_TRANSPARENT = {"Identity", "Cast", "ConvertToTensor"}
# Layers that turn logits into logits, and probabilities into probabilities.
_AVERAGING = {"Average", "Mean"}
_SCALING = {"Rescaling"}  # such as by a temperature
_HEADS = ("head", "head_dist")


def ending_of(model: keras.Model) -> str | None:
    """Returns the kind of a classifier's output.

    Args:
      model: functional model, or a built Sequential.

    Returns:
      `LINEAR` for logits, also those of LeViT's two heads and of exits; `SOFTMAX` or `SIGMOID` for
      probabilities; None if the model is not a classifier: it has other outputs than one of shape
      (batch, classes), a single linear value as its output, or another kind of last layer.
    """
    flat = flatten(model)
    if has_two_heads(flat) or have_exits(flat.output):
        return LINEAR
    if not keras.utils.is_keras_tensor(flat.output) or len(flat.output.shape) != 2:
        return None
    ending = _ending(flat.output, calls_of(flat))
    return None if ending == LINEAR and flat.output.shape[1] == 1 else ending


def has_two_heads(model: keras.Model) -> bool:
    """Returns whether a model's outputs are the logits of LeViT's two heads, judged by name."""
    return _are_two_heads(model.output)


def have_exits(outputs: Any) -> bool:
    """Returns whether outputs of a model or of a call are those of `levit_tf.dynamic.exits`."""
    return (
        isinstance(outputs, dict)
        and WHOLE in outputs
        and len(outputs) > 1
        and all(name.startswith(EXIT_PREFIX) for name in outputs if name != WHOLE)
    )


def mean_of_heads(outputs: Any) -> Any:
    """Reduces the outputs of a model to a single prediction.

    Args:
      outputs: arrays or tensors that a model returned.

    Returns:
      The mean of the logits for LeViT's two heads; the logits of the whole network for a model with
      exits; `outputs` unchanged for any other model.
    """
    if have_exits(outputs):
        return outputs[WHOLE]
    if not _are_two_heads(outputs):
        return outputs
    head, distilled = (outputs[name] for name in _HEADS)
    return (head + distilled) / 2


def last_call(model: keras.Model) -> Call | None:
    """Returns the call that computes a model's output, before linear activations at its end.

    Mixed precision often ends in such a layer, which only turns the output into float32.

    Args:
      model: a functional model with one output.

    Returns:
      The call; None if nothing computes the output.
    """
    calls, tensor = calls_of(model), model.outputs[0]
    while True:
        call = _call_of(tensor, calls)
        layer = call and call.operation
        is_linear = isinstance(layer, keras.layers.Activation) and (
            layer.activation is keras.activations.linear
        )
        if not is_linear:
            return call
        (tensor,) = call.inputs


def is_activation(operation: Any) -> bool:
    """Returns whether a layer or a stateless operation is only an activation of its input."""
    layers = keras.layers.Activation, keras.layers.Softmax
    return isinstance(operation, layers) or operation_ending(operation) is not None


def operation_ending(operation: Any) -> str | None:
    """Returns `SOFTMAX` or `SIGMOID` for stateless operations over classes, None for any other."""
    if isinstance(operation, keras.layers.Layer) or getattr(operation, "axis", -1) not in (-1, 1):
        return None
    return _OPERATIONS.get(type(operation).__name__)


def _call_of(tensor: keras.KerasTensor, calls: list[Call]) -> Call | None:
    return next((call for call in calls if any(x is tensor for x in call.outputs)), None)


def _are_two_heads(outputs: Any) -> bool:
    return isinstance(outputs, dict) and set(outputs) == set(_HEADS)


def _ending(tensor: keras.KerasTensor, calls: list[Call]) -> str | None:
    call = _call_of(tensor, calls)
    if call is None:
        return None
    layer, kind = call.operation, type(call.operation).__name__
    if found := operation_ending(layer):
        return found
    if isinstance(layer, Classifier):
        return LINEAR
    if kind in _TRANSPARENT or is_inactive(layer):
        return _ending(call.inputs[0], calls)
    if kind in _SCALING:
        return LINEAR if _ending(call.inputs[0], calls) == LINEAR else None
    if kind in _AVERAGING:
        found = {_ending(x, calls) for x in call.inputs}
        return found.pop() if len(found) == 1 else None
    if isinstance(layer, keras.layers.Softmax):
        return SOFTMAX
    if isinstance(layer, keras.layers.Activation):
        found = _ACTIVATIONS.get(layer.activation)
        return _ending(call.inputs[0], calls) if found == LINEAR else found
    if isinstance(layer, keras.Model):  # a nested model that could not be flattened
        return ending_of(layer)
    if isinstance(layer, keras.layers.Dense):
        return _ACTIVATIONS.get(layer.activation)
    return None
