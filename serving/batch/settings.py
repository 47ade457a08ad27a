"""The settings of an output: the same command resumes it; another command is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from serving.batch.outputs import BAD, COUNTS, TEMPORARY

SETTINGS_FILE, SUMMARY_FILE = "settings.json", "summary.json"


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings that the results depend on.

    Attributes:
      model: SHA-256 of the model's file.
      input: the file patterns.
      file_list: SHA-256 of the paths and sizes of the files, see `digest_of_files`.
      input_format: "pictures", "tfrecord" or "parquet".
      output_format: "jsonl", "tfrecord" or "parquet".
      shards: number of shards that pictures are distributed to.
      top: number of classes to return.
      level: name of the output to write as the embedding; None for none.
      labels: class names; None for a network that is no classifier.
    """

    model: str
    input: tuple[str, ...]
    file_list: str
    input_format: str
    output_format: str
    shards: int
    top: int
    level: str | None
    labels: tuple[str, ...] | None


def digest_of(path: str) -> str:
    """Returns the SHA-256 of a file."""
    digest = hashlib.sha256()
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def digest_of_files(patterns: Sequence[str]) -> str:
    """Returns the SHA-256 of the paths and sizes of all files that match.

    Raises:
      ValueError: nothing matches one of the patterns.
    """
    digest = hashlib.sha256()
    for found in FileSystems.match(list(patterns)):
        if not found.metadata_list:
            raise ValueError(f"--input: nothing matches {found.pattern!r}.")
        for file in sorted(found.metadata_list, key=lambda file: file.path):
            line = f"{file.size_in_bytes} {file.path}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def open_output(output: str, settings: Settings, own_labels: Sequence[str] | None = None) -> None:
    """Creates the output folder, or resumes one with the same settings.

    Args:
      output: the output folder.
      settings: the settings.
      own_labels: class names in the model's file; an earlier version did not write them down.

    Raises:
      FileExistsError: the output is finished, has other settings, or is not of this command.
    """
    wanted = json.loads(json.dumps(dataclasses.asdict(settings)))
    path = FileSystems.join(output, SETTINGS_FILE)
    if FileSystems.exists(FileSystems.join(output, SUMMARY_FILE)):
        raise FileExistsError(f"{output} exists already and is finished; name another --output.")
    if FileSystems.exists(path):
        found = json.loads(_read(path))
        if found.get("labels") is None and own_labels is not None:
            found["labels"] = list(own_labels)
        other = [key for key in wanted if found.get(key) != wanted[key]]
        if other:
            raise FileExistsError(
                f"{output} was begun with another {', '.join(other)}; name another --output."
            )
        _make_folders(output)  # an earlier version made not all of them
        (left,) = FileSystems.match([FileSystems.join(output, f"{TEMPORARY}*")])
        if left.metadata_list:
            FileSystems.delete([entry.path for entry in left.metadata_list])
        return
    (found,) = FileSystems.match([FileSystems.join(output, "*")])
    if found.metadata_list:
        raise FileExistsError(f"{output} exists already and is no output of this command.")
    _make_folders(output)
    write_json(path, wanted)


def _make_folders(output: str) -> None:
    for folder in (output, *(FileSystems.join(output, name) for name in (BAD, COUNTS))):
        if not FileSystems.exists(folder):
            FileSystems.mkdirs(folder)


def write_json(path: str, content: dict) -> None:
    """Writes a JSON file on any file system."""
    plain = CompressionTypes.UNCOMPRESSED
    with FileSystems.create(path, compression_type=plain) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())


def _read(path: str) -> bytes:
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        return file.read()
