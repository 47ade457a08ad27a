"""Writes JSON files that are either complete or do not exist."""

from __future__ import annotations

import json
import os
from typing import Any

from levit_common.files import atomic_path


def write_json(path: str | os.PathLike, content: Any, *, durable: bool = False) -> None:
    """Writes a JSON file, replacing an existing one.

    Args:
      path: the file; its folder is created.
      content: any value that `json` can write.
      durable: whether to wait until the file is on the disk, and not only in the system's cache.

    Raises:
      OSError: the file cannot be written.
    """
    with (
        atomic_path(path, overwrite=True) as temporary,
        open(temporary, "w", encoding="utf-8") as file,
    ):
        file.write(json.dumps(content, indent=2) + "\n")
        if durable:
            file.flush()
            os.fsync(file.fileno())
