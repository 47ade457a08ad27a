"""Fake quantisers: each rounds a tensor to the 256 values that its int8 form in the file can have.

They differ from tensorflow-model-optimization's defaults where those do not train what is shipped:

- the range of a kernel is always that of the kernel at hand, not of the step before, so that it
  holds for averaged weights too;
- ranges of activations move with a decay of 0.99 (0.999 hardly moves in a fine-tuning of some
  hundred steps) and are those of the whole batch, over all replicas.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from converters.qat.qat_packages import tfmot

DECAY = 0.99
LEARNED, SYMMETRIC, INHERITED = "learned", "symmetric", "inherited"
# From the lowest of 256 integers to the highest, where zero is to be the integer 0.
_LOWEST = -128 / 127
# Where all is zero there is no scale.
_SMALLEST_BOUND, _SMALLEST_STEP = 1e-9, 1e-20

# Returns (smallest, largest) value.
RangeFunction = Callable[[], tuple[tf.Tensor, tf.Tensor]]

_quantizers = tfmot.quantization.keras.quantizers


class KernelQuantizer(_quantizers.Quantizer):
    """Rounds a kernel to -127..127 by a scale for each output channel, the last axis."""

    def build(self, tensor_shape, name, layer):
        return {}

    def __call__(self, inputs, training, weights, **kwargs):
        bound = _channel_bounds(inputs)

        def rounded(kernel):
            return tf.quantization.fake_quant_with_min_max_vars_per_channel(
                kernel, -bound, bound, num_bits=8, narrow_range=True
            )

        return _straight_through(rounded, inputs)

    def get_config(self):
        return {}


class BiasQuantizer(_quantizers.Quantizer):
    """Rounds a bias to whole products of the steps of its layer's input and kernel.

    Integer kernels add it to sums of such products.

    Args:
      kernel: of the layer.
      input_range: returns the range of the layer's input.
    """

    def __init__(self, kernel: tf.Variable, input_range: RangeFunction):
        self._kernel = kernel
        self._input_range = input_range

    def build(self, tensor_shape, name, layer):
        return {}

    def __call__(self, inputs, training, weights, **kwargs):
        low, high = self._input_range()
        step = (high - low) / 255 * _channel_bounds(self._kernel) / 127
        step = tf.stop_gradient(tf.maximum(step, _SMALLEST_STEP))
        return _straight_through(lambda bias: tf.round(bias / step) * step, inputs)

    def get_config(self):
        raise NotImplementedError("It belongs to one layer of one network.")


class ConstantQuantizer(_quantizers.Quantizer):
    """Rounds a constant tensor to 256 values from its smallest, or 0, to its largest, or 0."""

    def build(self, tensor_shape, name, layer):
        return {}

    def __call__(self, inputs, training, weights, **kwargs):
        low, high = extremes(inputs)
        return _straight_through(lambda x: fake_quantized(x, low, high), inputs)

    def get_config(self):
        return {}


class ActivationQuantizer(_quantizers.MovingAverageQuantizer):
    """Rounds an activation to 256 values by a range that follows those of the batches.

    Args:
      symmetric: whether zero is to be the integer 0.
    """

    def __init__(self, symmetric: bool = False):
        super().__init__(num_bits=8, per_axis=False, symmetric=symmetric, narrow_range=False)

    def build(self, tensor_shape, name, layer):
        def variable(end):
            return layer.add_weight(
                name=f"{name}_{end}",
                initializer="zeros",
                trainable=False,
                # All replicas compute the same value.
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )

        return {"min_var": variable("min"), "max_var": variable("max")}

    def __call__(self, inputs, training, weights, **kwargs):
        low, high = (tf.convert_to_tensor(weights[end]) for end in ("min_var", "max_var"))
        if training:
            found = symmetric_range if self.symmetric else lambda *ends: ends
            batch_low, batch_high = found(*_over_replicas(*extremes(inputs)))
            low = low * DECAY + batch_low * (1 - DECAY)
            high = high * DECAY + batch_high * (1 - DECAY)
            weights["min_var"].assign(low)
            weights["max_var"].assign(high)
        return fake_quantized(inputs, low, high)

    def get_config(self):
        return {"symmetric": self.symmetric}


class InheritedQuantizer(_quantizers.Quantizer):
    """Rounds an activation to the 256 values that another one can have.

    Args:
      input_range: returns the range of the other.
    """

    def __init__(self, input_range: RangeFunction):
        self._input_range = input_range

    def build(self, tensor_shape, name, layer):
        return {}

    def __call__(self, inputs, training, weights, **kwargs):
        return fake_quantized(inputs, *map(tf.convert_to_tensor, self._input_range()))

    def get_config(self):
        raise NotImplementedError("It belongs to one layer of one network.")


class FakeQuantization(tfmot.quantization.keras.QuantizeConfig):
    """Which parts of one layer are rounded, and to which ranges.

    Args:
      weight: the attribute that holds a weight to be rounded, "kernel" or "attention_biases"; None
        for none.
      output: the range of its output: `LEARNED`, `SYMMETRIC` (learned, with zero as the integer 0),
        `INHERITED` (that of its input), or fixed (min, max); None where the output is not rounded.

    Attributes:
      input_range: set for a layer with a kernel, whose bias is rounded accordingly, and for one
        that inherits it.
      rounded: pairs of a weight and its quantizer, once the layer is built.
    """

    def __init__(self, weight: str | None = None, output: str | tuple[float, float] | None = None):
        self.weight = weight
        self.output = output
        self.input_range: RangeFunction | None = None
        self.rounded: list[tuple[tf.Variable, _quantizers.Quantizer]] = []

    @property
    def is_learning(self) -> bool:
        """Whether the range of the output is learned."""
        return self.output in (LEARNED, SYMMETRIC)

    def get_weights_and_quantizers(self, layer):
        if self.weight == "kernel":
            self.rounded = [(layer.kernel, KernelQuantizer())]
            if layer.use_bias:
                self.rounded.append((layer.bias, BiasQuantizer(layer.kernel, self.input_range)))
        elif self.weight is not None:
            self.rounded = [(getattr(layer, self.weight), ConstantQuantizer())]
        return self.rounded

    def set_quantize_weights(self, layer, quantize_weights):
        for name, weight in zip((self.weight, "bias"), quantize_weights, strict=False):
            setattr(layer, name, weight)

    def get_activations_and_quantizers(self, layer):
        return []

    def set_quantize_activations(self, layer, quantize_activations):
        pass

    def get_output_quantizers(self, layer):
        if self.output is None:
            return []
        if self.is_learning:
            return [ActivationQuantizer(symmetric=self.output == SYMMETRIC)]
        if self.output == INHERITED:
            return [InheritedQuantizer(self.input_range)]
        low, high = self.output
        return [_quantizers.FixedQuantizer(8, low, high, narrow_range=False)]

    def get_config(self):
        raise NotImplementedError("It belongs to one layer of one network.")


def fake_quantized(x: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
    """Rounds to 256 values from `low` to `high`; gradients pass within the range."""
    low, high = tf.stop_gradient(low), tf.stop_gradient(high)
    return tf.quantization.fake_quant_with_min_max_vars(x, low, high, num_bits=8)


def _channel_bounds(kernel: tf.Tensor) -> tf.Tensor:
    """The largest absolute value of each output channel, the last axis."""
    axes = list(range(len(kernel.shape) - 1))
    return tf.maximum(tf.reduce_max(tf.abs(kernel), axis=axes), _SMALLEST_BOUND)


def _straight_through(rounded: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    """`rounded(x)`, with the gradient of `x`.

    The gradient of TensorFlow's own rounding is 0 at the ends of a range that was moved a little to
    have zero among its values; those of weights lie at the ends.
    """
    return tf.grad_pass_through(rounded)(tf.convert_to_tensor(x))


def symmetric_range(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The smallest range around another in which zero is the integer 0."""
    bound = tf.maximum(high, low / _LOWEST)
    return bound * _LOWEST, bound


def extremes(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Smallest and largest value; zero, which padding needs exactly, always lies between them."""
    x = tf.stop_gradient(x)
    return tf.minimum(tf.reduce_min(x), 0), tf.maximum(tf.reduce_max(x), 0)


def _over_replicas(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The extremes of all replicas together."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return low, high
    # There is no all-reduce for maxima.
    ends = context.all_gather(tf.stack([-low, high])[None], axis=0)  # (replicas, 2)
    ends = tf.reduce_max(ends, axis=0)
    return -ends[0], ends[1]
