"""Random access to image classification sets of TensorFlow Datasets, prepared on this machine."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from levit_common.spelling import did_you_mean
from training.data.records import TfRecords
from training.data.sources import Example, Fetched, Source, checksum

TRAIN_SPLIT = "train"
TEST_SPLITS = ("test", "validation", "val")


class TfdsSource(Source):
    """The pictures of one split.

    Args:
      name: name of the split, for messages.
      records: serialised `tf.train.Example`s by index.
      instructions: see `TfRecords`; which records of which files these are.
      image_key: key of the encoded picture.
      label_key: key of the label or labels.
      classes: number of classes if pictures have sets of labels; None for one label per picture.
    """

    def __init__(
        self,
        name: str,
        records: Any,
        instructions: Sequence[Any],
        image_key: str,
        label_key: str,
        classes: int | None = None,
    ):
        self._name = name
        self._records = records
        self._instructions = instructions
        self._image_key = image_key
        self._label_key = label_key
        self._classes = classes
        self.label_shape = () if classes is None else (classes,)

    def __len__(self) -> int:
        return len(self._records)

    def fetch(self, indices: tf.Tensor) -> Fetched:
        contents, labels = tf.numpy_function(self._fetch, [indices], (tf.string, tf.int32))
        contents = tf.ensure_shape(contents, [None])
        labels = tf.ensure_shape(labels, [None, *self.label_shape])
        return Fetched(contents, labels, tf.ones_like(indices, tf.bool))

    def example(self, index: int) -> Example:
        contents, labels = self._fetch(np.array([index]))
        return Example(f"{self._name}, picture {index}", contents[0], labels[0])

    def number_in(self, other: TfdsSource) -> int:
        there: dict[str, np.ndarray] = {}
        for name, records, count in other._taken():
            there.setdefault(name, np.zeros(count, bool))[records] = True
        return sum(
            int(there[name][records].sum()) for name, records, _ in self._taken() if name in there
        )

    def _taken(self) -> Iterator[tuple[str, slice, int]]:
        """The files, which of their records are taken, and the number of all."""
        for part in self._instructions:
            records = slice(part.skip, part.skip + part.take)
            yield str(part.filename), records, part.examples_in_shard

    def fingerprint(self) -> str:
        """Covers the split, its number of pictures and, for TFRecords, the position of each."""
        parts = [f"{self._name}, {len(self)} pictures".encode()]
        if isinstance(self._records, TfRecords):
            parts.append(self._records.positions.tobytes())
        return checksum(parts)

    def has_labels(self) -> bool:
        """Whether the pictures have labels: some data sets keep those of their test part secret."""
        return bool(self._classes) or self.example(0).label >= 0

    def _fetch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        contents = np.empty(len(indices), object)
        labels = np.zeros((len(indices), *self.label_shape), np.int32)
        for row, record in enumerate(self._records.__getitems__(indices.tolist())):
            features = tf.train.Example.FromString(record).features.feature
            contents[row] = features[self._image_key].bytes_list.value[0]
            values = features[self._label_key].int64_list.value
            if self._classes is None:
                labels[row] = values[0]
            else:
                labels[row, list(values)] = 1
        return contents, labels


def load_tfds(
    name: str, split_train: str | None, split_test: str | None, with_train: bool = True
) -> tuple[TfdsSource | None, TfdsSource | None, list[str], tuple[int, int] | None]:
    """Opens a data set.

    Args:
      name: name as `tfds.builder` takes it, such as "cifar10" or "imagenet_v2/matched-frequency".
      split_train: the part to train on, in the notation of TensorFlow Datasets ("train[:90%]",
        "train+validation"); by default "train", if there is one.
      split_test: the part to hold out, in the same notation; by default the first existing one of
        `TEST_SPLITS` that has labels.
      with_train: whether to open the training part.

    Returns:
      The training and the held-out part, each None if there is none; the names of the classes; and
      (height, width) of the pictures if all have the same size, else None.

    Raises:
      ImportError: tensorflow-datasets is not installed.
      ValueError: the set or split does not exist, or the set is not prepared, is not for image
        classification, or has damaged files.
    """
    builder = _builder(name)
    image_key, label_key, classes = _features(builder, name)
    splits = list(builder.info.splits)
    is_set = not isinstance(builder.info.features[label_key], _tfds().features.ClassLabel)

    def opened(split: str) -> TfdsSource:
        try:
            instructions = builder.info.splits[split].file_instructions
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"dataset {name}: no split {split!r}. It has {', '.join(splits)}, and parts of "
                "them in the notation of TensorFlow Datasets, such as 'train[:90%]'."
            ) from error
        return TfdsSource(
            f"{name} {split}",
            _records(builder, split, instructions),
            instructions,
            image_key,
            label_key,
            len(classes) if is_set else None,
        )

    if split_train and is_set:
        raise ValueError(f"dataset {name}: several labels a picture; it is for evaluation only.")
    train = split_train or (TRAIN_SPLIT if TRAIN_SPLIT in splits and not is_set else None)
    if split_test:
        test = opened(split_test)
        if not test.has_labels():
            raise ValueError(f"dataset {name}: the pictures of {split_test!r} have no labels.")
    else:
        candidates = (opened(split) for split in TEST_SPLITS if split in splits)
        test = next((source for source in candidates if source.has_labels()), None)
    if test is None:
        raise ValueError(
            f"dataset {name}: no split to hold out among {', '.join(splits)}. Name one, and train "
            "on the rest, such as split_train='train[:90%]' and split_test='train[90%:]'."
        )
    shape = builder.info.features[image_key].shape[:2]
    size = None if None in shape else tuple(shape)
    return opened(train) if train and with_train else None, test, classes, size


def _tfds():
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            'This data set needs TensorFlow Datasets: pip install "levit_tf[train]"'
        ) from error
    return tfds


def _builder(name: str) -> Any:
    """Returns the builder of a prepared data set."""
    tfds = _tfds()
    data_dir = os.environ.get("TFDS_DATA_DIR")
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        hint = did_you_mean(name, tfds.list_builders(with_community_datasets=False))
        raise ValueError(
            f"dataset {name}: TensorFlow Datasets does not know it, and there is none of this name "
            f"in {data_dir or tfds.core.constants.DATA_DIR}.{hint}"
        ) from error
    except (ValueError, AssertionError) as error:  # an unknown version or configuration
        lines = str(error).strip().splitlines()
        raise ValueError(f"dataset {name}: {lines[0]}") from error
    if not builder.is_prepared():
        by_hand = " Its files have to be downloaded by hand first." * bool(
            builder.MANUAL_DOWNLOAD_INSTRUCTIONS
        )
        where = [f"--data_dir={data_dir}"] if data_dir else []
        command = shlex.join(["tfds", "build", name, *where])
        raise ValueError(
            f"dataset {name}: not prepared; looked in {builder.data_dir}. Run `{command}`, or set "
            f"TFDS_DATA_DIR to the folder that has it.{by_hand}"
        )
    return builder


def _features(builder: Any, name: str) -> tuple[str, str, list[str]]:
    """Returns the keys of the picture and its label, and the names of the classes."""
    kinds = _tfds().features
    features = dict(builder.info.features.items())

    def is_image(key: str) -> bool:
        return isinstance(features.get(key), kinds.Image)

    def is_label(key: str) -> bool:
        feature = features.get(key)
        return isinstance(getattr(feature, "feature", feature), kinds.ClassLabel)

    pairs = [builder.info.supervised_keys or ()]
    pairs.append([*filter(is_image, features), *filter(is_label, features)])
    for pair in pairs:
        if len(pair) == 2 and is_image(pair[0]) and is_label(pair[1]):
            image_key, label_key = pair
            label = features[label_key]
            return image_key, label_key, list(getattr(label, "feature", label).names)
    found = ", ".join(f"{key}: {type(feature).__name__}" for key, feature in features.items())
    raise ValueError(
        f"dataset {name}: expected pictures with a class each, an Image and a ClassLabel. "
        f"Found: {found}"
    )


def _records(builder: Any, split: str, instructions: Sequence[Any]) -> Any:
    """Returns the serialised examples by index, for any supported file format."""
    tfds = _tfds()
    formats = builder.info.available_file_formats()
    if tfds.core.FileFormat.ARRAY_RECORD in formats:
        return builder.as_data_source(
            split,
            deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
            file_format=tfds.core.FileFormat.ARRAY_RECORD,
        )
    if tfds.core.FileFormat.TFRECORD in formats:
        return TfRecords(instructions)
    raise ValueError(
        f"dataset {builder.info.full_name}: prepared as "
        f"{', '.join(sorted(f.value for f in formats))}; expected tfrecord or array_record. "
        f"Prepare it again: `tfds build {builder.info.full_name} --file_format=array_record`"
    )
