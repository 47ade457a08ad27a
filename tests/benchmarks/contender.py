"""A program in the place of a benchmark: it takes turns, or writes a file."""

import argparse
from pathlib import Path

from converters.speed.turns import serve_turns

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("worker", "write", "folder", "text"):
        parser.add_argument(f"--{name}")
    given = parser.parse_args()
    if given.worker:
        serve_turns(lambda: sum(range(int(given.worker))))
    else:
        Path(given.folder, "file.txt").write_text(f"{given.write} {given.text}")
