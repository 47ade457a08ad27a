"""Turns an encoded picture into the network's input, with `tf.io`, or with Pillow if that fails.

`tf.io` decodes without Python, and of a JPEG only the needed part. But it stops the pipeline at a
damaged file, ignores the EXIF orientation and lacks some formats. So each picture gets a small data
set of two attempts, and the first one that succeeds is used. What needs no file is done after it:
for each of these data sets TensorFlow prepares the functions in it anew, and for the operations of
RandAugment that takes several times as long as running them.
"""

from __future__ import annotations

import threading

import numpy as np
import tensorflow as tf

from levit_lite.cropping import LARGEST_SIDE_WITHOUT_MARGIN
from levit_lite.images import ImageError, load_image
from levit_tf.pictures.picture_folders import reason_of
from levit_tf.preprocessing import resize_and_center_crop
from training.augment import AugmentationSettings, crop_encoded, crop_image, finish
from training.data.sources import Fetched, Source

# This many unreadable pictures in a row have a common cause: a missing disk, a lost connection.
MAX_REPLACEMENTS = 100
NO_LABEL = -1


class Skipped:
    """Collects the pictures that were skipped, each once; thread-safe.

    Attributes:
      failure: the error that stopped a strict run. `tf.data` raises its own error instead, with the
        same message among much other text.

    Args:
      strict: whether to stop at the first unreadable picture instead.
    """

    def __init__(self, strict: bool = False):
        self.failure: ImageError | None = None
        self._strict = strict
        self._reasons: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, name: str, error: ImageError) -> None:
        """Adds a picture.

        Raises:
          ImageError: `strict` is set; the error names the file.
        """
        reason = reason_of(name, error)
        if self._strict:
            self.failure = ImageError(f"{name}: {reason} (Without --strict it would be skipped.)")
            raise self.failure
        with self._lock:
            self._reasons.setdefault(name, reason)

    def list(self) -> list[tuple[str, str]]:
        """Returns (name, reason) of each picture."""
        with self._lock:
            return list(self._reasons.items())


class Augmentation:
    """Augments and normalises training pictures.

    Args:
      settings: the `AugmentationSettings`.
    """

    def __init__(self, settings: AugmentationSettings):
        self._settings = settings

    def of_pixels(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Crops and flips pixels: (height, width, 3) uint8 -> (*size, 3) uint8."""
        if not self._settings.crops:
            image = _fit(image, self._settings.size)
        return crop_image(image, seed, self._settings)

    def of_encoded(self, contents: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Crops and flips the picture in the bytes of a file."""
        if not self._settings.crops:
            return self.of_pixels(decode(contents), seed)
        return crop_encoded(contents, seed, self._settings)

    def finish(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Does the rest of the augmentation: (*size, 3) uint8 -> float32, normalised."""
        return finish(image, seed, self._settings)


class Evaluation:
    """Prepares pictures by the evaluation protocol, not yet normalised: uint8 grey levels.

    Args:
      size: (height, width) of the result, pixels.
    """

    def __init__(self, size: tuple[int, int]):
        self._size = size

    def of_pixels(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Prepares pixels: (height, width, 3) uint8 -> (*size, 3) uint8."""
        del seed
        if max(self._size) <= LARGEST_SIDE_WITHOUT_MARGIN:
            return _fit(image, self._size)
        return _by_protocol(image, self._size)

    def of_encoded(self, contents: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Prepares the picture in the bytes of a file."""
        return self.of_pixels(decode(contents), seed)

    def finish(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns the image; nothing is left to do."""
        del seed
        return image


def decode(contents: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG, PNG, GIF (its first frame) or BMP file as Pillow does.

    Args:
      contents: the bytes of the file, a scalar string.

    Returns:
      (height, width, 3) uint8 RGB.
    """
    image = tf.cond(
        tf.io.is_jpeg(contents),
        # The accurate cosine transform, which is Pillow's default.
        lambda: tf.io.decode_jpeg(contents, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_image(contents, channels=3, expand_animations=False),
    )
    return tf.ensure_shape(image, [None, None, 3])


def _fit(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Resizes a small picture, unless it already has the right size."""
    if image.shape[:2] == size:
        return image
    fits = tf.reduce_all(tf.shape(image)[:2] == tf.constant(size))
    fitted = tf.cond(fits, lambda: image, lambda: _by_protocol(image, size))
    return tf.ensure_shape(fitted, [*size, 3])


def _by_protocol(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    image = tf.cast(resize_and_center_crop(image, size), tf.uint8)
    return tf.ensure_shape(image, [*size, 3])


class Loader:
    """Turns what a source fetched into the network's input, picture by picture.

    Args:
      source: the source of the pictures.
      transform: an `Augmentation` or `Evaluation`.
      skipped: collects the unreadable pictures.
      replace: whether an unreadable picture is replaced by the one with the next index, so that
        batches stay full and the same in every run. If not, its label becomes `NO_LABEL`, and the
        caller leaves it out.
    """

    def __init__(
        self,
        source: Source,
        transform: Augmentation | Evaluation,
        skipped: Skipped,
        *,
        replace: bool,
    ):
        self._source = source
        self._transform = transform
        self._skipped = skipped
        self._replace = replace

    def __call__(
        self, index: tf.Tensor, fetched: Fetched, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Loads one picture, in a graph.

        Args:
          index: int64 scalar.
          fetched: what the source fetched for this picture.
          seed: (2,) int64.

        Returns:
          The image and its label.
        """
        if self._source.has_pixels:
            image = self._transform.of_pixels(fetched.contents, seed)
            return self._transform.finish(image, seed), fetched.labels

        def by_tf(contents, label, plain):
            del plain
            return self._transform.of_encoded(self._source.read(contents), seed), label

        def by_pillow(index):
            image, label = tf.numpy_function(self._load, [index], (tf.uint8, tf.int32))
            image = tf.ensure_shape(image, [None, None, 3])
            label = tf.ensure_shape(label, self._source.label_shape)
            return self._transform.of_pixels(image, seed), label

        first = tf.data.Dataset.from_tensors(tuple(fetched))
        first = first.filter(lambda contents, label, plain: plain).map(by_tf).ignore_errors()
        second = tf.data.Dataset.from_tensors(index).map(by_pillow)
        image, label = first.concatenate(second).take(1).get_single_element()
        return self._transform.finish(image, seed), label

    def _load(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Loads pixels and label of the first readable picture from `index` on."""
        for attempt in range(MAX_REPLACEMENTS):
            example = self._source.example((int(index) + attempt) % len(self._source))
            try:
                return load_image(example.contents), np.asarray(example.label, np.int32)
            except ImageError as error:
                self._skipped.add(example.name, error)
            if not self._replace:
                no_label = np.full(self._source.label_shape, NO_LABEL, np.int32)
                return np.zeros((1, 1, 3), np.uint8), no_label
        self._skipped.failure = ImageError(
            f"{example.name}: neither this picture nor the {MAX_REPLACEMENTS - 1} before it can be "
            "read. Is the disk still there?"
        )
        raise self._skipped.failure
