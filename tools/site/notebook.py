"""Converts a notebook to a page: its text, code and printed output, and its pictures as files."""

from __future__ import annotations

import base64
import json
import posixpath
import re
from pathlib import Path

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def notebook_page(path: Path, folder: str) -> tuple[str, dict[str, bytes]]:
    """Converts a notebook that was run.

    Args:
      path: the `.ipynb` file.
      folder: folder for the pictures, relative to the page.

    Returns:
      The page in Markdown, and its pictures by their path relative to the page.

    Raises:
      ValueError: a cell ended with an error, or has an output that a page cannot show.
    """
    parts, pictures = [], {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code":
            parts.append(_fenced(source, "python"))
            for output in cell["outputs"]:
                parts.append(_shown(output, path, folder, pictures))
    return "\n\n".join(part for part in parts if part) + "\n", pictures


def _shown(output: dict, path: Path, folder: str, pictures: dict[str, bytes]) -> str:
    if output["output_type"] == "stream":
        return _fenced(_COLOURS.sub("", "".join(output["text"])), "text")
    data = output.get("data", {})
    if "image/png" in data:
        name = posixpath.join(folder, f"{len(pictures) + 1}.png")
        pictures[name] = base64.b64decode("".join(data["image/png"]))
        return f"![What the code above draws]({name})"
    if "text/markdown" in data:
        return "".join(data["text/markdown"])
    if "text/plain" in data:
        return _fenced("".join(data["text/plain"]), "text")
    raise ValueError(f"{path}: a cell wrote {output['output_type']}, which the site cannot show")


def _fenced(text: str, language: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```" if text.strip() else ""
