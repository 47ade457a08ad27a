"""RandAugment as timm's "rand-m9-mstd0.5-inc1" defines it.

Source: `rand_augment_transform`, `AugmentOp`, the `_..._level_to_arg` functions and
`_RAND_INCREASING_TRANSFORMS` of timm/data/auto_augment.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from levit_tf.preprocessing import IMAGENET_MEAN
from training.augment import affine, operations

HIGHEST_MAGNITUDE = 10.0
# timm's transforms_factory.py passes the mean of the normalisation, in grey levels.
FILL = tuple(min(255, round(255 * mean)) for mean in IMAGENET_MEAN)

Level = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Operation:
    """One of the operations that RandAugment chooses from.

    Attributes:
      name: its name in timm.
      function: function of (image) or (image, argument) that returns an image.
      level: function of (magnitude in 0..10, sign), float64 scalars, that returns the argument, a
        scalar; None if the operation takes no argument. The sign is -1 or 1 with equal probability.
    """

    name: str
    function: Callable[..., tf.Tensor]
    level: Level | None = None

    def __call__(self, image: tf.Tensor, magnitude: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
        if self.level is None:
            return self.function(image)
        return self.function(image, self.level(magnitude, sign))


def _signed(highest: float) -> Level:
    return lambda magnitude, sign: sign * (magnitude / HIGHEST_MAGNITUDE * highest)


def _enhancement(magnitude: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
    return tf.maximum(1 + sign * (magnitude / HIGHEST_MAGNITUDE * 0.9), 0.1)


def _bits(magnitude: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
    del sign
    return 4 - tf.cast(magnitude / HIGHEST_MAGNITUDE * 4, tf.int32)


def _threshold(magnitude: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
    del sign
    return 256 - tf.minimum(256, tf.cast(magnitude / HIGHEST_MAGNITUDE * 256, tf.int32))


def _addend(magnitude: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
    del sign
    return tf.minimum(128, tf.cast(magnitude / HIGHEST_MAGNITUDE * 110, tf.int32))


def _filling(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    return lambda image, argument: function(image, argument, FILL)


OPERATIONS = (
    Operation("AutoContrast", operations.auto_contrast),
    Operation("Equalize", operations.equalize),
    Operation("Invert", operations.invert),
    Operation("Rotate", _filling(affine.rotate), _signed(30.0)),
    Operation("PosterizeIncreasing", operations.posterize, _bits),
    Operation("SolarizeIncreasing", operations.solarize, _threshold),
    Operation("SolarizeAdd", operations.solarize_add, _addend),
    Operation("ColorIncreasing", operations.color, _enhancement),
    Operation("ContrastIncreasing", operations.contrast, _enhancement),
    Operation("BrightnessIncreasing", operations.brightness, _enhancement),
    Operation("SharpnessIncreasing", operations.sharpness, _enhancement),
    Operation("ShearX", _filling(affine.shear_x), _signed(0.3)),
    Operation("ShearY", _filling(affine.shear_y), _signed(0.3)),
    Operation("TranslateXRel", _filling(affine.translate_x), _signed(0.45)),
    Operation("TranslateYRel", _filling(affine.translate_y), _signed(0.45)),
)


@dataclasses.dataclass(frozen=True)
class Draws:
    """The operations drawn for one image, in the order in which they are applied.

    Attributes:
      choices: (count,) int32, indices into `OPERATIONS`; `len(OPERATIONS)` means no operation.
      magnitudes: (count,) float64 in 0..10.
      signs: (count,) float64, -1 or 1.
    """

    choices: tf.Tensor
    magnitudes: tf.Tensor
    signs: tf.Tensor


def draw(
    seed: tf.Tensor,
    *,
    count: int = 2,
    probability: float = 0.5,
    magnitude: float = 9.0,
    magnitude_std: float = 0.5,
) -> Draws:
    """Draws the operations for one image.

    Args:
      seed: (2,) integers; the same seed draws the same values.
      count: number of operations to choose, with repetition.
      probability: probability of applying each of them.
      magnitude: mean of the magnitude, 0..10.
      magnitude_std: standard deviation of the magnitude; values outside 0..10 are clipped.

    Returns:
      `count` draws.
    """
    uniform_seed, normal_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    uniform = tf.random.stateless_uniform([3, count], uniform_seed)
    normal = tf.random.stateless_normal([count], normal_seed, magnitude, magnitude_std, tf.float64)
    choices = tf.cast(uniform[0] * len(OPERATIONS), tf.int32)
    return Draws(
        choices=tf.where(uniform[1] < probability, choices, len(OPERATIONS)),
        magnitudes=tf.clip_by_value(normal, 0, HIGHEST_MAGNITUDE),
        signs=tf.where(uniform[2] < 0.5, tf.constant(-1, tf.float64), 1),
    )


def apply(image: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Applies the drawn operations; only these are computed.

    Args:
      image: (height, width, 3) uint8, of known height and width.
      draws: a result of `draw`.

    Returns:
      An image with the shape and type of `image`.
    """
    signature = [
        tf.TensorSpec(image.shape, image.dtype),
        tf.TensorSpec([], tf.float64),
        tf.TensorSpec([], tf.float64),
    ]

    def branch(function):
        def shaped(image, magnitude, sign):
            return tf.ensure_shape(function(image, magnitude, sign), signature[0].shape)

        return tf.function(shaped, autograph=False).get_concrete_function(*signature)

    branches = [branch(operation) for operation in OPERATIONS]
    branches.append(branch(lambda image, magnitude, sign: tf.identity(image)))
    for number in range(draws.choices.shape[0]):
        # tf.switch_case would inline all branches and visit every op of those that were not chosen,
        # which takes longer than most of the operations.
        (image,) = tf.raw_ops.Case(
            branch_index=draws.choices[number],
            input=[image, draws.magnitudes[number], draws.signs[number]],
            Tout=[image.dtype],
            branches=branches,
        )
    return tf.ensure_shape(image, signature[0].shape)
