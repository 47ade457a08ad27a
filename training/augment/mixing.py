"""Mixup and CutMix of a batch with its reverse, with one lambda for the whole batch.

Source: `Mixup` of timm/data/mixup.py, mode "batch", `correct_lam=True`.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class MixingSettings:
    """How batches are mixed; the defaults are those of the official recipe.

    Attributes:
      mixup: alpha of the beta distribution of mixup's lambda; 0 turns mixup off.
      cutmix: alpha of the beta distribution of CutMix's lambda; 0 turns CutMix off.
      probability: probability of mixing a batch.
      switch_probability: probability of CutMix rather than mixup, if both are on.
      label_smoothing: probability spread evenly over all classes before mixing.
    """

    mixup: float = 0.8
    cutmix: float = 1.0
    probability: float = 1.0
    switch_probability: float = 0.5
    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        for field in ("mixup", "cutmix"):
            if not getattr(self, field) >= 0:
                raise ValueError(f"{field} must be at least 0. Received: {getattr(self, field)!r}")
        for field in ("probability", "switch_probability", "label_smoothing"):
            if not 0 <= getattr(self, field) <= 1:
                raise ValueError(f"{field} must be in 0..1. Received: {getattr(self, field)!r}")


@dataclasses.dataclass(frozen=True)
class MixingDraw:
    """The random choices for mixing one batch.

    Attributes:
      weight: lambda, the weight of the picture itself; a float64 scalar.
      cut: whether to use CutMix; a bool scalar.
      centre: (y, x) of the centre of CutMix's box, int32, in pixels.
    """

    weight: tf.Tensor
    cut: tf.Tensor
    centre: tf.Tensor


def draw_mixing(seed: tf.Tensor, size: tuple[int, int], settings: MixingSettings) -> MixingDraw:
    """Draws the random choices for mixing one batch.

    Args:
      seed: (2,) integers; the same seed draws the same values.
      size: (height, width) of the pictures, pixels.
      settings: the `MixingSettings`.

    Returns:
      The draw; its weight is 1 if the batch is not mixed.
    """
    uniform_seed, mixup_seed, cutmix_seed = tf.unstack(
        tf.random.experimental.stateless_split(seed, 3)
    )
    uniform = tf.random.stateless_uniform([4], uniform_seed)
    if settings.mixup and settings.cutmix:
        cut = uniform[0] < settings.switch_probability
        weight = tf.where(
            cut, _beta(cutmix_seed, settings.cutmix), _beta(mixup_seed, settings.mixup)
        )
    else:
        cut = tf.constant(settings.cutmix > 0)
        alpha = settings.cutmix or settings.mixup
        weight = _beta(cutmix_seed, alpha) if alpha else tf.constant(1, tf.float64)
    mixed = uniform[1] < settings.probability
    return MixingDraw(
        weight=tf.where(mixed, weight, 1),
        cut=cut & mixed,
        centre=tf.cast(uniform[2:] * tf.constant(size, tf.float32), tf.int32),
    )


def mix(
    images: tf.Tensor,
    labels: tf.Tensor,
    draw: MixingDraw,
    *,
    classes: int,
    label_smoothing: float = 0.1,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mixes a batch according to a draw.

    Args:
      images: (n, height, width, channels) float32.
      labels: (n,) integers.
      draw: a result of `draw_mixing`.
      classes: number of classes.
      label_smoothing: see `MixingSettings`.

    Returns:
      Images of the same shape, and targets (n, classes) float32; each row sums to 1.
    """
    height, width = images.shape[1:3]
    other = tf.reverse(images, axis=[0])

    def cutmix():
        low, high = _box(draw, height, width)
        area = tf.cast(tf.reduce_prod(high - low), tf.float64)
        return _paste(images, other, low, high), 1 - area / (height * width)

    def mixup():
        weight = tf.cast(draw.weight, tf.float32)
        return images * weight + other * (1 - weight), draw.weight

    mixed, weight = tf.cond(draw.cut, cutmix, mixup)
    weight = tf.cast(weight, tf.float32)
    off = label_smoothing / classes
    targets = tf.one_hot(labels, classes, on_value=1 - label_smoothing + off, off_value=off)
    return mixed, targets * weight + tf.reverse(targets, axis=[0]) * (1 - weight)


def random_mixing(
    images: tf.Tensor,
    labels: tf.Tensor,
    seed: tf.Tensor,
    settings: MixingSettings,
    *,
    classes: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mixes a batch at random.

    Args:
      images: (n, height, width, channels) float32, of known height and width.
      labels: (n,) integers.
      seed: (2,) integers; the same seed gives the same result.
      settings: the `MixingSettings`.
      classes: number of classes.

    Returns:
      The same as `mix`.
    """
    draw = draw_mixing(seed, tuple(images.shape[1:3]), settings)
    return mix(images, labels, draw, classes=classes, label_smoothing=settings.label_smoothing)


def _beta(seed: tf.Tensor, alpha: float) -> tf.Tensor:
    """Draws a float64 scalar from Beta(alpha, alpha)."""
    gamma = tf.random.stateless_gamma([2], seed, alpha, dtype=tf.float64)
    return gamma[0] / tf.reduce_sum(gamma)


def _box(draw: MixingDraw, height: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns (top, left) and (bottom, right), int32, of CutMix's box, clipped to the image."""
    size = tf.constant([height, width])
    sides = tf.cast(tf.cast(size, tf.float64) * tf.sqrt(1 - draw.weight), tf.int32)
    low = tf.clip_by_value(draw.centre - sides // 2, 0, size)
    return low, tf.clip_by_value(draw.centre + (sides + 1) // 2, 0, size)


def _paste(images: tf.Tensor, other: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
    """Returns `images` with the box copied from `other`."""
    lines = images[:, low[0] : high[0]]
    part = other[:, low[0] : high[0], low[1] : high[1]]
    lines = tf.concat([lines[:, :, : low[1]], part, lines[:, :, high[1] :]], axis=2)
    pasted = tf.concat([images[:, : low[0]], lines, images[:, high[0] :]], axis=1)
    return tf.ensure_shape(pasted, images.shape)
