"""Reads pictures from files, TFRecords and Parquet, on any file system that Beam supports."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Sequence

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from google.protobuf.message import DecodeError

from levit_lite.images import ImageError
from serving.protobuf_tables import message_classes

IMAGE, NAME = "image/encoded", "image/filename"  # features of tf.Example, as TFDS writes them
IMAGE_COLUMN, NAME_COLUMN = "image", "name"

# The part of TensorFlow's tf.Example that is read here, without TensorFlow.
_EXAMPLE = {
    "Example": {"features": (1, "Features")},
    "Features": {"feature": (1, "{Feature}")},
    "Feature": {"bytes_list": (1, "BytesList")},
    "BytesList": {"value": (1, "[bytes]")},
}
_Example = message_classes(_EXAMPLE, "levit_batch")["Example"]

_DAMAGED = "the file is damaged or cut off here; what follows is left out."


def pictures_of(
    paths: Sequence[str], input_format: str
) -> Iterator[tuple[str, bytes | ImageError]]:
    """Yields (name, content) of each picture, or the reason why it cannot be read.

    Args:
      paths: paths of the files.
      input_format: "pictures", "tfrecord" or "parquet". Where a file of records is damaged, the
        reason takes the place of all pictures from there on.

    Raises:
      OSError: a file cannot be read. For a picture only if this may pass, since Beam's runners try
        again; not if it does not exist, or may not be read.
    """
    for path in paths:
        if input_format == "pictures":
            try:
                with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
                    content = file.read()
            except (FileNotFoundError, PermissionError) as error:
                content = ImageError(f"cannot be read: {error.strerror or error}.")
            yield path, content
        elif input_format == "tfrecord":
            yield from _of_tfrecord(path)
        else:
            yield from _of_parquet(path)


def _of_tfrecord(path: str) -> Iterator[tuple[str, bytes | ImageError]]:
    from apache_beam.io.tfrecordio import _TFRecordUtil

    with FileSystems.open(path) as file:
        for number in itertools.count():
            place = f"{path}#{number}"
            try:
                record = _TFRecordUtil.read_record(file)
            except (ValueError, zlib.error):
                yield place, ImageError(_DAMAGED)
                return
            if record is None:
                return
            try:
                features = _Example.FromString(record).features.feature
            except DecodeError:
                yield place, ImageError("the record is no tf.Example.")
                continue
            name, image = (b"".join(features[key].bytes_list.value[:1]) for key in (NAME, IMAGE))
            yield name.decode("utf-8", "replace") or place, image


def check_columns(patterns: Sequence[str]) -> None:
    """Checks that the first Parquet file of each pattern has a column of pictures.

    Raises:
      ValueError: it has none.
    """
    import pyarrow.parquet

    for found in FileSystems.match(list(patterns), [1] * len(patterns)):
        (first,) = found.metadata_list
        with FileSystems.open(first.path) as file:
            try:
                names = pyarrow.parquet.read_schema(file).names
            except (pyarrow.ArrowException, OSError):
                continue  # damaged, which will be among the unreadable pictures
        if IMAGE_COLUMN not in names:
            raise ValueError(
                f"{first.path}: expected a column {IMAGE_COLUMN!r} of pictures' contents. Found: "
                f"{', '.join(names)}"
            )


def _of_parquet(path: str) -> Iterator[tuple[str, bytes | ImageError]]:
    import pyarrow.parquet

    number = 0
    with FileSystems.open(path) as file:
        try:
            for batch in pyarrow.parquet.ParquetFile(file).iter_batches(batch_size=64):
                for row in batch.to_pylist():
                    image = row.get(IMAGE_COLUMN)
                    # Data sets of the Hugging Face hub store {"bytes", "path"}.
                    content = image.get("bytes") if isinstance(image, dict) else image
                    if not isinstance(content, bytes):
                        content = ImageError(f"no bytes in the column {IMAGE_COLUMN!r}.")
                    yield str(row.get(NAME_COLUMN) or f"{path}#{number}"), content
                    number += 1
        except (ValueError, pyarrow.ArrowException, OSError) as error:
            # pyarrow raises OSError for damaged data, too, but without a number.
            if isinstance(error, BeamIOError) or getattr(error, "errno", None):
                raise
            yield f"{path}#{number}", ImageError(_DAMAGED)
