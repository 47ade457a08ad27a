"""The fake-quantised network: a deploy graph that rounds wherever its int8 file does."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from converters.choices import TARGETS
from converters.qat.qat_model import LayerRanges
from converters.qat.qat_packages import tf_keras, tfmot
from converters.qat.qat_quantizers import (
    INHERITED,
    LEARNED,
    SYMMETRIC,
    FakeQuantization,
    symmetric_range,
)
from converters.qat.twin import make_twin
from converters.qat.twin_layers import AddBias, AttentionBias, HardGate, MatMul, Sigmoid

_BATCH = 32  # pictures
_BELOW_ONE = (0.0, 255 / 256)  # of the integer kernels of softmax and sigmoid, always
_PASSING_ON = (
    tf_keras.layers.Identity,
    tf_keras.layers.Permute,
    tf_keras.layers.Reshape,
    tf_keras.layers.ZeroPadding2D,
)
_Wrapper = tfmot.quantization.keras.QuantizeWrapperV2


@tf.autograph.experimental.do_not_convert  # there is nothing to convert, and it takes a third
def fake_quantize(graph: keras.Model, target: str) -> tf_keras.Model:
    """Builds the fake-quantised network of a deploy graph.

    Args:
      graph: a result of `converters.deploy.deploy_graph`, for any batch size.
      target: one of `TARGETS`.

    Returns:
      A tf_keras model: plain RGB -> logits, as `converters.qat.twin.make_twin` says. Its ranges are
      to be set: `set_ranges`. Called with `training=True` it moves them towards those of the batch.
    """
    twin = make_twin(graph)
    notes = _annotations(twin, target)
    wrappers = {}

    def copied(layer):
        copy = type(layer).from_config(layer.get_config())
        note = notes.get(layer.name)
        if note is None:
            return copy
        if isinstance(layer, tf_keras.layers.Rescaling) and target == "int8_full":
            copy.offset = _rounded_offset(layer)
        if note.weight == "kernel" or note.output == INHERITED:
            source = _source(layer.input)
            note.input_range = lambda: _range(wrappers[source])
        wrappers[layer.name] = _Wrapper(copy, note, name_prefix="")
        return wrappers[layer.name]

    network = tf_keras.models.clone_model(twin, clone_function=copied)
    for layer in twin.layers:  # cloning leaves the weights behind
        copies = network.get_layer(layer.name).trainable_weights
        for copy, weight in zip(copies, layer.trainable_weights, strict=True):
            copy.assign(weight)
    return network


def float_ranges(graph: keras.Model, target: str, images: np.ndarray) -> LayerRanges:
    """Returns the ranges to begin with: the float network's on pictures, averaged over batches.

    Args:
      graph: see `fake_quantize`.
      target: see `fake_quantize`.
      images: (n, height, width, 3), RGB 0..255.

    Returns:
      A range for each that the fake-quantised network learns.
    """
    twin = make_twin(graph)
    names = [name for name, note in _annotations(twin, target).items() if note.is_learning]
    probe = tf_keras.Model(twin.input, {name: twin.get_layer(name).output for name in names})

    @tf.function(autograph=False)
    def extremes(batch):
        return {name: (tf.reduce_min(x), tf.reduce_max(x)) for name, x in probe(batch).items()}

    batches = [
        extremes(tf.cast(images[start : start + _BATCH], tf.float32))
        for start in range(0, len(images), _BATCH)
    ]
    return {
        name: tuple(float(np.mean(ends)) for ends in zip(*(b[name] for b in batches), strict=True))
        for name in names
    }


def set_ranges(network: tf_keras.Model, ranges: LayerRanges) -> None:
    """Sets the learned ranges of a fake-quantised network.

    Raises:
      ValueError: `ranges` has not one for each of them.
    """
    layers = {
        layer.name: layer for layer in _wrappers(network) if layer.quantize_config.is_learning
    }
    if missing := sorted(set(layers) - set(ranges)):
        raise ValueError(f"There is no range for the output of {', '.join(missing)}.")
    for name, layer in layers.items():
        low, high = min(ranges[name][0], 0.0), max(ranges[name][1], 0.0)
        if layer.quantize_config.output == SYMMETRIC:
            low, high = symmetric_range(low, high)
        for variable, value in zip(_range_variables(layer), (low, high), strict=True):
            variable.assign(value)


def ranges_of(network: tf_keras.Model) -> LayerRanges:
    """All ranges of a fake-quantised network, learned and fixed, in the order of its layers."""
    return {
        layer.name: tuple(float(end) for end in _range(layer))
        for layer in _wrappers(network)
        if layer.quantize_config.output is not None
    }


def quantized_weights(network: tf_keras.Model) -> dict[str, list[np.ndarray]]:
    """The weights with which the network computes: what is rounded in it is rounded here.

    Returns:
      By name of layer, as `converters.qat.twin.set_graph_weights` takes them.
    """
    found = {}
    for wrapper in network.layers:
        layer = wrapper.layer if isinstance(wrapper, _Wrapper) else wrapper
        if not wrapper.trainable_weights:
            continue
        rounded = wrapper.quantize_config.rounded if layer is not wrapper else []
        weights = [quantizer(weight, training=False, weights={}) for weight, quantizer in rounded]
        weights = weights or [tf.convert_to_tensor(weight) for weight in layer.trainable_weights]
        if isinstance(layer, AttentionBias):
            weights = [layer.expanded(weights[0])]
        found[wrapper.name] = [weight.numpy() for weight in weights]
    return found


def _annotations(twin: tf_keras.Model, target: str) -> dict[str, FakeQuantization]:
    """Returns what is rounded in the int8 file, by name of layer."""
    if target not in TARGETS:
        raise ValueError(f"Unknown target {target!r}. Known: {', '.join(TARGETS)}.")
    is_full = target == "int8_full"
    # XNNPACK multiplies integer matrices whose second one has the zero point 0.
    symmetric = _sources(twin, MatMul, operand=1)
    notes = {}
    for layer in twin.layers:
        match layer:
            case tf_keras.layers.Conv2D() | tf_keras.layers.Dense():
                output = SYMMETRIC if layer.name in symmetric else LEARNED
                note = FakeQuantization("kernel", output)
            case (
                tf_keras.layers.Add()
                | tf_keras.layers.Multiply()
                | tf_keras.layers.GlobalAveragePooling2D()
                | MatMul()
            ):
                note = FakeQuantization(output=LEARNED)
            case tf_keras.layers.Resizing():
                note = FakeQuantization(output=INHERITED)
            case tf_keras.layers.Rescaling():
                note = FakeQuantization(output=_normalized_pixels(layer))
            case Sigmoid():
                note = FakeQuantization(output=_BELOW_ONE)
            case tf_keras.layers.Activation():
                # Of a softmax. Over many keys its values are far below 1, and floats can have steps
                # of their own; those of an integer softmax are fixed.
                note = FakeQuantization(output=_BELOW_ONE if is_full else LEARNED)
            case _:
                note = _annotation_of_core(layer) if is_full else None
        if note is not None:
            notes[layer.name] = note
    return notes


def _annotation_of_core(layer) -> FakeQuantization | None:
    """Returns how a layer rounds in the fully quantised file only; None if it does not."""
    match layer:
        case AddBias():
            return FakeQuantization(output=LEARNED)
        case AttentionBias():
            return FakeQuantization("attention_biases")
        case HardGate():
            return FakeQuantization(output=(0.0, 1.0))
    return None


def _normalized_pixels(layer: tf_keras.layers.Rescaling) -> tuple[float, float]:
    """The range of what 0..255 become."""
    ends = [np.multiply(value, layer.scale) + layer.offset for value in (0, 255)]
    return float(np.min(ends)), float(np.max(ends))


def _rounded_offset(layer: tf_keras.layers.Rescaling) -> list[float]:
    """The offset as the integer normalisation adds it: the bias of a convolution of pixels."""
    step = np.array(layer.scale) / 127  # the kernel of a channel is one number, the integer 127
    return (np.round(np.array(layer.offset) / step) * step).tolist()


def _sources(twin: tf_keras.Model, kind: type, operand: int = 0) -> set[str]:
    """Names of the layers that compute an operand of all layers of a kind."""
    return {
        _source(tf.nest.flatten(layer.input)[operand])
        for layer in twin.layers
        if isinstance(layer, kind)
    }


def _source(tensor) -> str:
    """Name of the layer that computes the values of a tensor, however they are arranged."""
    layer = tensor._keras_history.layer
    return _source(layer.input) if isinstance(layer, _PASSING_ON) else layer.name


def _wrappers(network: tf_keras.Model) -> list[_Wrapper]:
    return [layer for layer in network.layers if isinstance(layer, _Wrapper)]


def _range(layer: _Wrapper) -> tuple:
    """The range of a layer's output."""
    if layer.quantize_config.is_learning:
        return tuple(tf.convert_to_tensor(variable) for variable in _range_variables(layer))
    if layer.quantize_config.output == INHERITED:
        return layer.quantize_config.input_range()
    return layer.quantize_config.output


def _range_variables(layer) -> list[tf.Variable]:
    """The variables of the smallest and of the largest value of a layer's output."""
    by_name = {variable.name.split("/")[-1]: variable for variable in layer.non_trainable_weights}
    return [by_name["output_min:0"], by_name["output_max:0"]]
