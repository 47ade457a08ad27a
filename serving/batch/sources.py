"""Reads pictures from files, TFRecords and Parquet, on any file system that Beam supports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from levit_lite.images import ImageError

INPUT_FORMATS = ("pictures", "tfrecord", "parquet")
IMAGE, NAME = "image/encoded", "image/filename"  # features of tf.Example, as TFDS writes them
IMAGE_COLUMN, NAME_COLUMN = "image", "name"


def pictures_of(
    paths: Sequence[str], input_format: str
) -> Iterator[tuple[str, bytes | ImageError]]:
    """Yields (name, content) of each picture, or the reason why its file cannot be opened.

    Args:
      paths: paths of the files.
      input_format: one of `INPUT_FORMATS`.

    Raises:
      OSError, ValueError: a file cannot be read. For a picture only if this may pass, since Beam's
        runners try again; not if it does not exist, or may not be read.
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


def _of_tfrecord(path: str) -> Iterator[tuple[str, bytes]]:
    from apache_beam.io.tfrecordio import _TFRecordUtil

    with FileSystems.open(path) as file:
        number = 0
        while (record := _TFRecordUtil.read_record(file)) is not None:
            features = example_features(record)
            name = features.get(NAME, b"").decode("utf-8", "replace") or f"{path}#{number}"
            yield name, features.get(IMAGE, b"")
            number += 1


def _of_parquet(path: str) -> Iterator[tuple[str, bytes]]:
    import pyarrow.parquet

    with FileSystems.open(path) as file:
        table = pyarrow.parquet.ParquetFile(file)
        names = table.schema_arrow.names
        if IMAGE_COLUMN not in names:
            raise ValueError(
                f"{path}: expected a column {IMAGE_COLUMN!r} of pictures' contents. Found: "
                f"{', '.join(names)}"
            )
        number = 0
        for batch in table.iter_batches(batch_size=64):
            for row in batch.to_pylist():
                image = row[IMAGE_COLUMN]
                # Data sets of the Hugging Face hub store {"bytes", "path"}.
                content = image.get("bytes") if isinstance(image, dict) else image
                yield str(row.get(NAME_COLUMN) or f"{path}#{number}"), content or b""
                number += 1


def example_features(record: bytes) -> dict[str, bytes]:
    """Returns the first value of each bytes feature of a serialised tf.Example, without TensorFlow.

    Raises:
      ValueError: the record is not a tf.Example.
    """
    found = {}
    for features in _fields(record, 1):
        for entry in _fields(features, 1):
            key = next(_fields(entry, 1), b"").decode("utf-8", "replace")
            for feature in _fields(entry, 2):
                for values in _fields(feature, 1):
                    found[key] = next(_fields(values, 1), b"")
    return found


def _fields(message: bytes, wanted: int) -> Iterator[bytes]:
    """Yields the contents of a message's length-delimited fields with one number."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == 0:
            _, position = _varint(message, position)
        elif kind == 2:
            length, position = _varint(message, position)
            if position + length > len(message):
                raise ValueError("no tf.Example: a field ends beyond the record")
            if tag >> 3 == wanted:
                yield message[position : position + length]
            position += length
        elif kind in (1, 5):
            position += 8 if kind == 1 else 4
        else:
            raise ValueError("no tf.Example")


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(message) or shift > 63:
            raise ValueError("no tf.Example: it ends within a number")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
