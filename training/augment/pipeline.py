"""The official recipe's augmentation of one image, a pure function of a seed.

Source: `transforms_imagenet_train` of timm/data/transforms_factory.py with the arguments of
`build_transform` in datasets.py of facebookresearch/LeViT.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from levit_lite.cropping import LARGEST_SIDE_WITHOUT_MARGIN
from levit_tf.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from training.augment import crop, erasing, rand_augment

Seed = tf.Tensor


@dataclasses.dataclass(frozen=True)
class AugmentationSettings:
    """How a training image is augmented; the defaults are those of the official recipe.

    Attributes:
      size: (height, width) of the result, pixels. For sizes up to 32x32 the pictures must already
        have this size; they are shifted instead of cropped and resized.
      scale: smallest and largest area of the crop, as a fraction of the picture's area.
      ratio: smallest and largest width / height of the crop.
      padding: width of the black border for shifting small pictures, pixels.
      flip: probability of flipping left to right.
      operations: number of RandAugment operations per image; 0 turns RandAugment off.
      operation_probability: probability of applying each of these operations.
      magnitude: mean magnitude of the operations, 0..10.
      magnitude_std: standard deviation of the magnitude.
      erasing: probability of random erasing.
    """

    size: tuple[int, int] = (224, 224)
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    padding: int = 4
    flip: float = 0.5
    operations: int = 2
    operation_probability: float = 0.5
    magnitude: float = 9.0
    magnitude_std: float = 0.5
    erasing: float = 0.25

    def __post_init__(self) -> None:
        for field in ("flip", "operation_probability", "erasing"):
            self._check(field, 0 <= getattr(self, field) <= 1, "in 0..1")
        for field in ("padding", "operations", "magnitude_std"):
            self._check(field, getattr(self, field) >= 0, "at least 0")
        self._check("size", len(self.size) == 2 and min(self.size) >= 3, "two numbers from 3")
        self._check("scale", 0 < self.scale[0] <= self.scale[1] <= 1, "ascending, in 0..1")
        self._check("ratio", 0 < self.ratio[0] <= self.ratio[1], "ascending and positive")
        self._check("magnitude", 0 <= self.magnitude <= 10, "in 0..10")

    def _check(self, field: str, valid: bool, expected: str) -> None:
        if not valid:
            raise ValueError(f"{field} must be {expected}. Received: {getattr(self, field)!r}")

    @property
    def crops(self) -> bool:
        """Whether pictures are cropped and resized rather than shifted."""
        return max(self.size) > LARGEST_SIDE_WITHOUT_MARGIN


def example_seed(seed: int | tf.Tensor, epoch: int | tf.Tensor, index: int | tf.Tensor) -> Seed:
    """Returns the seed of one image in one epoch.

    Args:
      seed: seed of the run.
      epoch: index of the epoch.
      index: index of the image, or of its copy if an epoch has several copies; independent of the
        order.

    Returns:
      (2,) int64.
    """
    run_and_epoch = tf.stack([tf.cast(seed, tf.int64), tf.cast(epoch, tf.int64)])
    return tf.random.experimental.stateless_fold_in(run_and_epoch, tf.cast(index, tf.int64))


def augment_image(image: tf.Tensor, seed: Seed, settings: AugmentationSettings) -> tf.Tensor:
    """Augments and normalises one image.

    Args:
      image: (height, width, 3) uint8 RGB; height and width may be unknown while the graph is built.
      seed: (2,) integers, such as from `example_seed`; the same seed gives the same result.
      settings: the `AugmentationSettings`.

    Returns:
      (*settings.size, 3) float32, (x / 255 - mean) / std.
    """
    return finish(crop_image(image, seed, settings), seed, settings)


def augment_encoded(contents: tf.Tensor, seed: Seed, settings: AugmentationSettings) -> tf.Tensor:
    """Decodes, augments and normalises one picture.

    The result equals that of `augment_image` on the decoded picture, but faster: of a JPEG only the
    crop is decoded.

    Args:
      contents: the bytes of a JPEG, PNG, GIF or BMP file, a scalar string.
      seed: see `augment_image`.
      settings: the `AugmentationSettings`.

    Returns:
      The same as `augment_image`.
    """
    return finish(crop_encoded(contents, seed, settings), seed, settings)


def crop_image(image: tf.Tensor, seed: Seed, settings: AugmentationSettings) -> tf.Tensor:
    """Does the first half of `augment_image`: crops and flips, to (*settings.size, 3) uint8."""
    seeds = _split(seed)
    if not settings.crops:
        image = tf.ensure_shape(image, [*settings.size, 3])
        image = crop.padded_crop(image, seeds["crop"], settings.padding)
        return tf.where(crop.draw_flip(seeds["flip"], settings.flip), image[:, ::-1], image)
    box = _choose_box(seeds, settings)(*crop.size_of(image))
    return _resize(crop.cut(image, box), seeds, settings)


def crop_encoded(contents: tf.Tensor, seed: Seed, settings: AugmentationSettings) -> tf.Tensor:
    """Decodes a picture and does the first half of `augment_encoded`, as `crop_image` does."""
    if not settings.crops:
        image = crop.decode_box(contents, lambda height, width: tf.stack([0, 0, height, width]))
        return crop_image(image, seed, settings)
    seeds = _split(seed)
    return _resize(crop.decode_box(contents, _choose_box(seeds, settings)), seeds, settings)


def finish(image: tf.Tensor, seed: Seed, settings: AugmentationSettings) -> tf.Tensor:
    """Does the second half of `augment_image`: RandAugment, normalisation and random erasing.

    Args:
      image: a result of `crop_image` or `crop_encoded` with the same seed and settings.
      seed: see `augment_image`.
      settings: the `AugmentationSettings`.

    Returns:
      The same as `augment_image`.
    """
    seeds = _split(seed)
    if settings.operations:
        draws = rand_augment.draw(
            seeds["operations"],
            count=settings.operations,
            probability=settings.operation_probability,
            magnitude=settings.magnitude,
            magnitude_std=settings.magnitude_std,
        )
        image = rand_augment.apply(image, draws)
    image = _normalize(image, settings.size)
    if settings.erasing:
        image = erasing.random_erasing(image, seeds["erasing"], settings.erasing)
    return tf.ensure_shape(image, [*settings.size, 3])


def _split(seed: Seed) -> dict[str, Seed]:
    names = ("crop", "flip", "operations", "erasing")
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, len(names)))
    return dict(zip(names, seeds, strict=True))


def _choose_box(seeds: dict[str, Seed], settings: AugmentationSettings):
    return lambda height, width: crop.draw_box(
        seeds["crop"], height, width, settings.scale, settings.ratio
    )


def _resize(part: tf.Tensor, seeds: dict[str, Seed], settings: AugmentationSettings) -> tf.Tensor:
    return crop.resize(part, settings.size, flip=crop.draw_flip(seeds["flip"], settings.flip))


def _normalize(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Does the same as `levit_tf.preprocess_input`, several times as fast, on whole rows."""
    height, width = size
    mean, std = np.array(IMAGENET_MEAN * width), np.array(IMAGENET_STD * width)
    # (height, width, 3) -> (height, width * 3)
    rows = tf.cast(tf.reshape(image, [height, width * 3]), tf.float32)
    rows = rows * (1 / (255 * std)).astype(np.float32) - (mean / std).astype(np.float32)
    return tf.reshape(rows, [height, width, 3])
