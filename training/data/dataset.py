"""A data set with a training and a held-out part, as `tf.data` pipelines and as arrays."""

from __future__ import annotations

import contextlib
import copy
import functools
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from levit_common.arrays import spread_indices
from levit_lite.images import ImageError
from levit_tf.preprocessing import preprocess_input
from training.augment import AugmentationSettings, example_seed
from training.data.decoding import NO_LABEL, Augmentation, Evaluation, Loader, Skipped
from training.data.order import draw_step, shard_positions, steps_per_epoch
from training.data.sources import Details, Fetched, FileEntry, Source, fingerprint_of

# Number of pictures per lookup, and of lookups that run while other pictures are decoded.
_CHUNK = 64
_LOOKUPS = 4


class Part(NamedTuple):
    """The pictures of one part of a data set.

    Attributes:
      count: number of pictures.
      fingerprint: checksum that changes with the pictures, their order or their labels.
      entries: list of files, with names relative to the folder of the data set; None if the
        pictures are not separate files.
    """

    count: int
    fingerprint: str
    entries: list[FileEntry] | None


class Dataset:
    """Labelled pictures; made by `load_data`.

    Attributes:
      name: the name given to `load_data`.
      class_names: human-readable names of the classes, in the order of the labels.
      class_ids: the names of the classes in the source, such as WordNet ids.
      input_size: (height, width) of the returned pictures, pixels.
      folder: folder of the pictures, if they are separate files.
      details: further facts from the source, for `training.data.summary`.
    """

    def __init__(
        self,
        name: str,
        *,
        train: Source | None,
        test: Source | None,
        class_names: Sequence[str],
        input_size: tuple[int, int],
        class_ids: Sequence[str] | None = None,
        skipped: Skipped | None = None,
        folder: str = "",
        details: Details | None = None,
    ):
        self.name = name
        self.folder = folder
        self.class_names = tuple(class_names)
        self.class_ids = tuple(class_ids or class_names)
        self.input_size = tuple(input_size)
        self._train = train
        self._test = test
        self._skipped = skipped or Skipped()
        self.details = details or Details()

    def with_input_size(self, size: tuple[int, int]) -> Dataset:
        """Returns the same data set with pictures of another size, (height, width) in pixels."""
        other = copy.copy(self)
        other.input_size = tuple(size)
        return other

    @property
    def num_train(self) -> int:
        """Number of training pictures; 0 for data sets for evaluation only."""
        return len(self._train) if self._train else 0

    @property
    def num_test(self) -> int:
        """Number of held-out pictures."""
        return len(self._test) if self._test else 0

    @functools.cached_property
    def num_seen(self) -> int:
        """Number of held-out pictures that are training pictures as well."""
        return self._test.number_in(self._train) if self._test and self._train else 0

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """Pictures found unreadable so far, as (name, reason)."""
        return self._skipped.list()

    @property
    def failure(self) -> ImageError | None:
        """The reason why unreadable pictures stopped an iteration with a `tf.errors.OpError`.

        With `strict` one such picture stops it; otherwise a hundred in a row.
        """
        return self._skipped.failure

    @contextlib.contextmanager
    def failure_explained(self) -> Iterator[None]:
        """Raises `failure`, if there is one, in place of TensorFlow's error."""
        try:
            yield
        except tf.errors.OpError as error:
            if self.failure is None:
                raise
            raise self.failure from error

    @functools.cached_property
    def parts(self) -> dict[str, Part]:
        """The two parts, recorded so that a resumed run can check that they are the same."""
        sources = {"training": self._train, "held-out": self._test}
        return {name: _part(source, self.folder) for name, source in sources.items() if source}

    def steps_per_epoch(self, global_batch: int, fill: bool = False) -> int:
        """Number of full batches in an epoch, which has as many examples as training pictures.

        Args:
          global_batch: pictures per step, over all shards.
          fill: see `train_dataset`.

        Raises:
          ValueError: there are too few pictures for one batch.
        """
        return steps_per_epoch(self.num_train, global_batch, fill)

    @tf.autograph.experimental.do_not_convert
    def train_dataset(
        self,
        *,
        global_batch: int,
        steps: int,
        first_step: int,
        seed: int,
        augment: AugmentationSettings | None,
        repeats: int = 1,
        fill: bool = False,
        period: int | None = None,
        num_shards: int = 1,
        shard: int = 0,
    ) -> tf.data.Dataset:
        """Makes batches of shuffled, augmented and normalised training pictures.

        Everything is a pure function of (seed, epoch, index), so iteration can resume at any step,
        and the shards together see in each step what a single one would see. Every epoch has its
        own permutation; pictures that do not fill its last batch are dropped, so that all steps
        have the same weight (main.py: `drop_last=True`). An unreadable picture is replaced by the
        one with the next index, and listed in `skipped`.

        Args:
          global_batch: pictures per step, over all shards.
          steps: number of the step to stop before, counted from the beginning of the run.
          first_step: number of the first step.
          seed: seed of order and augmentation.
          augment: the augmentation; None for the evaluation protocol.
          repeats: number of copies of each picture in an epoch's list, each augmented in its own
            way; epochs do not get longer (samplers.py). Copies go to different shards (the official
            recipe has 3).
          fill: whether an epoch's last batch is filled up with pictures already used in this epoch,
            rather than dropped.
          period: number of steps after which the batches repeat; None to never repeat.
          num_shards: number of workers that share each batch.
          shard: index of this worker.

        Returns:
          A dataset of (images (global_batch // num_shards, *input_size, 3) float32, labels
          (global_batch // num_shards,) int32), `steps - first_step` batches.

        Raises:
          ValueError: the data set has no training part or too few pictures for one batch; the batch
            cannot be shared evenly; or `augment` is for another size.
        """
        source = self._part("training")
        if augment is not None and tuple(augment.size) != self.input_size:
            raise ValueError(
                f"augment.size must be the input size, {self.input_size}. Received: {augment.size}"
            )
        if repeats < 1:
            raise ValueError(f"repeats must be at least 1. Received: {repeats}")
        positions = shard_positions(global_batch, num_shards, shard)
        pictures = self.num_train
        steps_per_epoch(pictures, global_batch, fill)  # raises here rather than in the graph

        def draw(step):
            step = step if period is None else step % period
            examples = draw_step(
                step,
                positions,
                pictures=pictures,
                global_batch=global_batch,
                seed=seed,
                repeats=repeats,
                fill=fill,
            )
            epochs = tf.fill([len(positions)], examples.epoch)
            return examples.indices, epochs, examples.copies

        def seeded(index, epoch, copy):
            return index, example_seed(seed, epoch, copy)

        order = tf.data.Dataset.range(first_step, steps).map(draw).unbatch().map(seeded)
        transform = Augmentation(augment) if augment else Evaluation(self.input_size)
        loader = Loader(source, transform, self._skipped, replace=True)
        batches = _load(source, order, loader).batch(len(positions), drop_remainder=True)
        return _finish(batches if augment else _normalize(batches))

    @tf.autograph.experimental.do_not_convert
    def test_dataset(
        self,
        *,
        batch: int,
        num_shards: int = 1,
        shard: int = 0,
        normalize: bool = True,
        limit: int | None = None,
        part: str = "held-out",
    ) -> tf.data.Dataset:
        """Makes batches of held-out pictures by the evaluation protocol, each picture once.

        Unreadable pictures are left out, and listed in `skipped`.

        Args:
          batch: pictures per batch; the last one may have fewer.
          num_shards: number of workers that share the pictures.
          shard: index of this worker. Shards differ in size by at most one picture.
          normalize: whether to apply `levit_tf.preprocess_input`; if not, pictures are RGB 0..255.
          limit: largest number of pictures over all shards, evenly spread; None for all.
          part: part to use; "training" gives the training pictures, by the same protocol.

        Returns:
          A dataset of (images (n, *input_size, 3) float32, labels (n,) int32). If pictures have
          sets of labels (ImageNet-ReaL), labels are (n, classes) int32, with 1 for each label of
          the set.

        Raises:
          ValueError: the data set has no such part, or there is no such shard.
        """
        if not 0 <= shard < num_shards:
            raise ValueError(f"shard must lie in 0..{num_shards - 1}. Received: {shard}")
        source = self._part(part)
        indices = spread_indices(len(source), limit)
        low, high = (len(indices) * n // num_shards for n in (shard, shard + 1))
        indices = tf.data.Dataset.from_tensor_slices(indices[low:high])
        batches = self._pictures(source, indices).batch(batch)
        if not normalize:
            return _finish(batches.map(lambda x, y: (tf.cast(x, tf.float32), y)))
        return _finish(_normalize(batches))

    def test_images(self, limit: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Loads held-out pictures into memory, by the evaluation protocol.

        Args:
          limit: largest number of pictures, evenly spread; None for all.

        Returns:
          Images (n, *input_size, 3) uint8 RGB 0..255, and labels as for `test_dataset`.

        Raises:
          ValueError: the data set has no held-out part.
        """
        return self._arrays("held-out", limit)

    def calibration_images(self, count: int) -> np.ndarray:
        """Loads training pictures for calibrating a quantiser, by the evaluation protocol.

        Args:
          count: largest number of pictures, evenly spread.

        Returns:
          (n, *input_size, 3) uint8 RGB 0..255.

        Raises:
          ValueError: the data set has no training part.
        """
        return self._arrays("training", count)[0]

    def _part(self, part: str) -> Source:
        source = {"training": self._train, "held-out": self._test}[part]
        if source is None:
            raise ValueError(f"dataset {self.name}: has no {part} part.")
        return source

    @tf.autograph.experimental.do_not_convert
    def _arrays(self, part: str, count: int | None) -> tuple[np.ndarray, np.ndarray]:
        source = self._part(part)
        indices = spread_indices(len(source), count)
        pictures = self._pictures(source, tf.data.Dataset.from_tensor_slices(indices))
        found = list(pictures.as_numpy_iterator())
        if not found:
            raise ValueError(f"dataset {self.name}: none of the pictures asked for can be read.")
        images, labels = zip(*found, strict=True)
        return np.stack(images), np.stack(labels)

    def _pictures(self, source: Source, indices: tf.data.Dataset) -> tf.data.Dataset:
        """Maps indices to (uint8 image, label), by the evaluation protocol."""
        order = indices.map(lambda index: (index, tf.zeros([2], tf.int64)))
        loader = Loader(source, Evaluation(self.input_size), self._skipped, replace=False)
        return _load(source, order, loader).filter(
            lambda image, label: tf.reduce_all(label != NO_LABEL)
        )


def _part(source: Source, folder: str) -> Part:
    entries = source.entries()
    if entries is None:
        return Part(len(source), source.fingerprint(), None)
    prefix = os.path.join(os.path.normpath(folder), "")
    entries = [entry._replace(name=entry.name.removeprefix(prefix)) for entry in entries]
    return Part(len(entries), fingerprint_of(entries), entries)


def _load(source: Source, order: tf.data.Dataset, loader: Loader) -> tf.data.Dataset:
    """Maps (index, seed) to (image, label), in the same order."""

    def fetch(indices, seeds):
        return indices, source.fetch(indices), seeds

    # Pictures are looked up in chunks and decoded one by one.
    fetched = order.batch(_CHUNK).map(fetch, num_parallel_calls=_LOOKUPS, deterministic=True)
    return fetched.unbatch().map(
        lambda index, contents, seed: loader(index, Fetched(*contents), seed),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def _normalize(batches: tf.data.Dataset) -> tf.data.Dataset:
    return batches.map(
        lambda images, labels: (preprocess_input(images, data_format="channels_last"), labels),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def _finish(batches: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    # The pipeline shards by itself; tf.distribute must not shard the shards again.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)
