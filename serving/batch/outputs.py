"""The files of a shard, with its results and its unreadable pictures, each complete or absent."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Sequence
from typing import Any

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

OUTPUT_FORMATS = ("jsonl", "tfrecord", "parquet")
BAD = "bad"  # folder for the lists of unreadable pictures
TEMPORARY = ".tmp-"


def shard_path(output: str, name: str, output_format: str) -> str:
    """Returns the path of a shard's results."""
    return FileSystems.join(output, f"part-{name}.{output_format}")


def bad_path(output: str, name: str) -> str:
    """Returns the path of the list of a shard's unreadable pictures."""
    return FileSystems.join(output, BAD, f"part-{name}.jsonl")


def write_shard(
    output: str,
    name: str,
    output_format: str,
    answers: Sequence[dict[str, Any]],
    bad: Sequence[dict[str, Any]],
) -> None:
    """Writes a shard. Its results are written last: if they exist, the shard is finished."""
    if bad:
        _write(output, bad_path(output, name), _json_lines(bad))
    content = _ENCODERS[output_format](answers)
    _write(output, shard_path(output, name, output_format), content)


def is_written(output: str, name: str, output_format: str) -> bool:
    """Returns whether a shard is finished."""
    return FileSystems.exists(shard_path(output, name, output_format))


def _write(output: str, path: str, content: bytes) -> None:
    temporary = FileSystems.join(output, f"{TEMPORARY}{uuid.uuid4().hex}")
    plain = CompressionTypes.UNCOMPRESSED
    with FileSystems.create(temporary, compression_type=plain) as file:
        file.write(content)
    if FileSystems.exists(path):  # another attempt at the same shard wrote the same
        FileSystems.delete([path])
    FileSystems.rename([temporary], [path])


def _json_lines(rows: Sequence[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _tfrecord(rows: Sequence[dict[str, Any]]) -> bytes:
    from apache_beam.io.tfrecordio import _TFRecordUtil

    file = io.BytesIO()
    for row in rows:
        _TFRecordUtil.write_record(file, json.dumps(row).encode())
    return file.getvalue()


def _parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), file)
    return file.getvalue()


_ENCODERS = {"jsonl": _json_lines, "tfrecord": _tfrecord, "parquet": _parquet}
