"""Non-trivial weights and images. On a fresh LeViT almost every branch is zero: parity is empty.

A fresh model has zero gammas on its residual branches and zero attention biases; an implementation
may get attention entirely wrong and still agree. Here gammas, betas and attention biases are
random. Moving statistics come from a pass over images and are then shifted, so that activations
keep order one through the deepest variant instead of dying out or saturating the softmax. Betas
above zero keep hard-swish from zeroing channels, whose tiny variance would magnify rounding: the
references then differ from themselves in float64 by less than 1e-6 (4e-6 with batch statistics).
"""

from __future__ import annotations

import numpy as np

_UNIFORM = {"gamma": (0.5, 1.0), "beta": (0.2, 1.0), "mean": (-0.3, 0.3), "variance": (0.7, 1.4)}
_ATTENTION_BIAS_STDDEV = 3.0
_COUNT = 4


def random_images(size: tuple[int, int], count: int = 2, channels: int = 3, seed: int = 0):
    """Blurred noise, (count, height, width, channels), float32 of order one.

    White noise would not do: all of it looks the same after pooling, and batch statistics of the
    heads would magnify rounding errors.
    """
    rng = np.random.default_rng(seed)
    height, width = size
    coarse = rng.normal(0, 1, (count, -(-height // 32), -(-width // 32), channels))
    smooth = coarse.repeat(32, axis=1).repeat(32, axis=2)[:, :height, :width]
    offset = rng.normal(0, 1.5, (count, 1, 1, channels))
    fine = rng.normal(0, 0.3, (count, height, width, channels))
    return (smooth + offset + fine).astype(np.float32)


def _draw(rng: np.random.Generator, kind: str, shape) -> np.ndarray:
    if kind == "attention_bias":
        return rng.normal(0, _ATTENTION_BIAS_STDDEV, shape).astype(np.float32)
    return rng.uniform(*_UNIFORM[kind], shape).astype(np.float32)


def randomize_torch(module, size: tuple[int, int] = (224, 224), channels: int = 3, seed: int = 0):
    """Gives a PyTorch LeViT BatchNorm state, attention biases and head biases, in place."""
    import torch

    rng = np.random.default_rng(seed)

    def draw(kind, tensor):
        return torch.from_numpy(_draw(rng, kind, tuple(tensor.shape)))

    norms = [m for m in module.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    images = random_images(size, _COUNT, channels, seed + 1).transpose(0, 3, 1, 2)  # to NCHW
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("attention_biases"):
                parameter.copy_(draw("attention_bias", parameter))
            elif name.endswith(("linear.bias", ".l.bias")):
                parameter.copy_(draw("beta", parameter))
        for norm in norms:
            norm.weight.copy_(draw("gamma", norm.weight))
            norm.bias.copy_(draw("beta", norm.bias))
            norm.momentum = 1.0  # PyTorch's: the new statistics only
        module.train()
        module(torch.from_numpy(np.ascontiguousarray(images)))
        for norm in norms:
            norm.momentum = 0.1
            # No channel is magnified above the average one.
            norm.running_var.clamp_(min=norm.running_var.mean())
            norm.running_mean += draw("mean", norm.running_mean) * norm.running_var.sqrt()
            norm.running_var *= draw("variance", norm.running_var)
    # The references cache the expanded biases in evaluation mode; this change of mode drops that.
    module.eval()


def randomize_keras(model, seed: int = 0) -> None:
    """The same for a Keras model, in place."""
    import keras

    rng = np.random.default_rng(seed)
    kinds = {
        "gamma": "gamma",
        "beta": "beta",
        "attention_biases": "attention_bias",
        "bias": "beta",
    }
    for weight in model.weights:
        kind = kinds.get(weight.path.rsplit("/", 1)[-1])
        if kind is not None:
            weight.assign(_draw(rng, kind, tuple(weight.shape)))

    norms = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # Keras': nothing of the old statistics
    height, width, channels = model.inputs[0].shape[1:]
    model(random_images((height, width), _COUNT, channels, seed + 1), training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        mean = keras.ops.convert_to_numpy(norm.moving_mean)
        variance = keras.ops.convert_to_numpy(norm.moving_variance)
        variance = np.maximum(variance, variance.mean())
        norm.moving_mean.assign(mean + _draw(rng, "mean", mean.shape) * np.sqrt(variance))
        norm.moving_variance.assign(variance * _draw(rng, "variance", variance.shape))


def with_random_exits(model, kinds=None):
    """A LeViT with exits whose branches have random weights, so that they disagree.

    For `kinds` see `levit_tf.dynamic.exits.add_exits`.
    """
    from levit_tf.dynamic.exits import add_exits, exit_layers

    model = add_exits(model, kinds)
    for layer in exit_layers(model):
        for weight in layer.weights:
            if "moving" not in weight.path:
                weight.assign(np.random.default_rng(1).normal(size=weight.shape) * 0.3)
    return model
