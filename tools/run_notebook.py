"""Runs a notebook from top to bottom in a new folder, and optionally stores its outputs.

    python -m tools.run_notebook examples/levit_tf.ipynb           # does it run?
    python -m tools.run_notebook examples/levit_tf.ipynb --write   # and store its outputs in it

`make docs-test` creates the environment that it needs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 900  # for a cell
LARGEST_BYTES = 1_000_000


def run_notebook(path: Path):
    """Runs a notebook and returns it with its outputs, except those to stderr.

    Raises:
      nbclient.exceptions.CellExecutionError: a cell ended with an error.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    # The cells, and the commands in them, run this repository's code.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        client = NotebookClient(
            notebook,
            timeout=TIMEOUT_S,
            resources=resources,
            record_timing=False,
            coalesce_streams=True,
        )
        client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            # Log messages of libraries are of no use to readers.
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def main() -> int:
    """Runs the command; returns the exit code."""
    import nbformat

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--write", action="store_true", help="store the outputs in the file")
    args = parser.parse_args()
    text = nbformat.writes(run_notebook(args.notebook)) + "\n"
    if len(text.encode()) > LARGEST_BYTES:
        print(
            f"{args.notebook}: {len(text.encode()):,} bytes with its outputs, expected at most "
            f"{LARGEST_BYTES:,}: draw fewer or smaller pictures",
            file=sys.stderr,
        )
        return 1
    if args.write:
        args.notebook.write_text(text, encoding="utf-8")
        print(f"written: {args.notebook}, {len(text.encode()):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
