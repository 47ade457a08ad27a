"""The files of a shard: results, unreadable pictures and counts, each complete or absent."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Sequence
from typing import Any

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from levit_common.shipped_names import EXIT

BAD = "bad"  # folder for the lists of unreadable pictures
COUNTS = "counts"  # folder for the numbers of pictures, which a resumed run adds up again
TEMPORARY = ".tmp-"


def shard_path(output: str, name: str, output_format: str) -> str:
    """Returns the path of a shard's results."""
    return FileSystems.join(output, f"part-{name}.{output_format}")


def bad_path(output: str, name: str) -> str:
    """Returns the path of the list of a shard's unreadable pictures."""
    return FileSystems.join(output, BAD, f"part-{name}.jsonl")


def counts_path(output: str, name: str) -> str:
    """Returns the path of a shard's counts."""
    return FileSystems.join(output, COUNTS, f"part-{name}.json")


def write_shard(
    output: str,
    name: str,
    output_format: str,
    columns: Sequence[str],
    answers: Sequence[dict[str, Any]],
    bad: Sequence[dict[str, Any]],
    counts: dict[str, int],
) -> None:
    """Writes a shard. Its results are written last: if they exist, the shard is finished.

    Args:
      output: the output folder.
      name: the shard.
      output_format: "jsonl", "tfrecord" or "parquet".
      columns: the keys of each answer.
      answers: the results.
      bad: the unreadable pictures.
      counts: what `counts_of` returns.
    """
    if bad:
        _write(output, bad_path(output, name), _json_lines(bad))
    _write(output, counts_path(output, name), _json_lines([counts]))
    content = _ENCODERS[output_format](answers, columns)
    _write(output, shard_path(output, name, output_format), content)


def counts_of(output: str, name: str, output_format: str) -> dict[str, int] | None:
    """Returns the counts of a finished shard, empty if an earlier version finished it.

    Returns:
      The counts; None if the shard is not finished.
    """
    if not FileSystems.exists(shard_path(output, name, output_format)):
        return None
    path = counts_path(output, name)
    if not FileSystems.exists(path):
        return {}
    with FileSystems.open(path) as file:
        return json.loads(file.read())


def _write(output: str, path: str, content: bytes) -> None:
    temporary = FileSystems.join(output, f"{TEMPORARY}{uuid.uuid4().hex}")
    plain = CompressionTypes.UNCOMPRESSED
    with FileSystems.create(temporary, compression_type=plain) as file:
        file.write(content)
    if FileSystems.exists(path):  # another attempt at the same shard wrote the same
        FileSystems.delete([path])
    FileSystems.rename([temporary], [path])


def _json_lines(rows: Sequence[dict[str, Any]], _columns: Sequence[str] = ()) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _tfrecord(rows: Sequence[dict[str, Any]], _columns: Sequence[str]) -> bytes:
    from apache_beam.io.tfrecordio import _TFRecordUtil

    file = io.BytesIO()
    for row in rows:
        _TFRecordUtil.write_record(file, json.dumps(row).encode())
    return file.getvalue()


def _parquet(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    text, integer, real = pyarrow.string(), pyarrow.int64(), pyarrow.float64()
    entry = pyarrow.struct({"class": text, "index": integer, "probability": real})
    types = {
        "name": text,
        "embedding": pyarrow.list_(real),
        "top": pyarrow.list_(entry),
        EXIT: integer,
    }
    # Given, since a shard without results must have the same columns as the others.
    schema = pyarrow.schema([(column, types[column]) for column in columns])
    # Parquet's texts are UTF-8, which names of files need not be.
    rows = [{**row, "name": _as_utf8(row["name"])} for row in rows]
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema), file)
    return file.getvalue()


def _as_utf8(name: str) -> str:
    """Escapes the undecodable bytes of a name, and nothing else, so that it finds its file."""
    return name.encode("utf-8", "backslashreplace").decode()


_ENCODERS = {"jsonl": _json_lines, "tfrecord": _tfrecord, "parquet": _parquet}
