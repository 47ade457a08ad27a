"""The augmentation of the official recipe, stateless: every result is a function of a seed.

Use `augment_image` or `augment_encoded` for each image, with a seed from `example_seed`, or their
two halves, and then `random_mixing` for each batch. All of it consists of TensorFlow ops that run
in `tf.data`.
"""

from training.augment.mixing import MixingSettings, random_mixing
from training.augment.pipeline import (
    AugmentationSettings,
    augment_encoded,
    augment_image,
    crop_encoded,
    crop_image,
    example_seed,
    finish,
)

__all__ = [
    "AugmentationSettings",
    "MixingSettings",
    "augment_encoded",
    "augment_image",
    "crop_encoded",
    "crop_image",
    "example_seed",
    "finish",
    "random_mixing",
]
