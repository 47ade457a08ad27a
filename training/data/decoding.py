"""From one encoded picture to the network's input: by `tf.io`, or by Pillow where that fails.

`tf.io` decodes without Python, of a JPEG only the part that is used, but it stops the pipeline at
a damaged file, ignores the EXIF orientation and does not know every format. So each picture has
its own little data set of two attempts, of which the first that succeeds counts.
"""

from __future__ import annotations

import threading

import numpy as np
import tensorflow as tf

from levit_lite.cropping import LARGEST_SIDE_WITHOUT_MARGIN
from levit_lite.images import ImageError, load_image
from levit_tf.pictures.picture_folders import reason_of
from levit_tf.preprocessing import resize_and_center_crop
from training.augment import AugmentationSettings, augment_encoded, augment_image
from training.data.sources import Fetched, Source

# So many pictures in a row that cannot be read are no accident: another disk, a lost connection.
MAX_REPLACEMENTS = 100
NO_LABEL = -1


class Skipped:
    """The pictures that were left out, each once, whatever thread found it.

    Attributes:
      failure: the error that stopped a strict run. `tf.data` raises it as an error of its own,
        which says the same in the midst of much else.

    Args:
      strict: whether to stop at the first one instead.
    """

    def __init__(self, strict: bool = False):
        self.failure: ImageError | None = None
        self._strict = strict
        self._reasons: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, name: str, error: ImageError) -> None:
        """Notes a picture.

        Raises:
          ImageError: `strict` was asked for; the error names the file.
        """
        reason = reason_of(name, error)
        if self._strict:
            self.failure = ImageError(f"{name}: {reason} (Without --strict it would be skipped.)")
            raise self.failure
        with self._lock:
            self._reasons.setdefault(name, reason)

    def list(self) -> list[tuple[str, str]]:
        """(name, reason) of each."""
        with self._lock:
            return list(self._reasons.items())


class Augmentation:
    """Training pictures: augmented and normalised.

    Args:
      settings: see there.
    """

    def __init__(self, settings: AugmentationSettings):
        self._settings = settings

    def of_pixels(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """(height, width, 3) uint8 -> (*size, 3) float32, normalised."""
        if not self._settings.crops:
            image = _fit(image, self._settings.size)
        return augment_image(image, seed, self._settings)

    def of_encoded(self, contents: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The same of the bytes of a file."""
        if not self._settings.crops:
            return self.of_pixels(decode(contents), seed)
        return augment_encoded(contents, seed, self._settings)


class Evaluation:
    """Pictures by the evaluation protocol, not yet normalised: whole grey levels as uint8.

    Args:
      size: (height, width), pixels.
    """

    def __init__(self, size: tuple[int, int]):
        self._size = size

    def of_pixels(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """(height, width, 3) uint8 -> (*size, 3) uint8."""
        del seed
        if max(self._size) <= LARGEST_SIDE_WITHOUT_MARGIN:
            return _fit(image, self._size)
        return _by_protocol(image, self._size)

    def of_encoded(self, contents: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The same of the bytes of a file."""
        return self.of_pixels(decode(contents), seed)


def decode(contents: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG, PNG, GIF (its first frame) or BMP file as Pillow does.

    Args:
      contents: the bytes, a scalar string.

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
    """Resizes a small picture unless it has the size already."""
    if image.shape[:2] == size:
        return image
    fits = tf.reduce_all(tf.shape(image)[:2] == tf.constant(size))
    fitted = tf.cond(fits, lambda: image, lambda: _by_protocol(image, size))
    return tf.ensure_shape(fitted, [*size, 3])


def _by_protocol(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    image = tf.cast(resize_and_center_crop(image, size), tf.uint8)
    return tf.ensure_shape(image, [*size, 3])


class Loader:
    """Turns what a source fetched, picture by picture, into the network's input.

    Args:
      source: of the pictures.
      transform: `Augmentation` or `Evaluation`.
      skipped: notes what cannot be read.
      replace: whether another picture takes the place of one that cannot be read: the one with the
        next index, so that a batch stays full and the same in every run. If not, its label becomes
        `NO_LABEL`, for the caller to leave it out.
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
          fetched: the entry of this picture.
          seed: (2,) int64.

        Returns:
          The image and its label.
        """
        if self._source.has_pixels:
            return self._transform.of_pixels(fetched.contents, seed), fetched.labels

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
        return first.concatenate(second).take(1).get_single_element()

    def _load(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels and label of the first picture from `index` on that can be read."""
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
