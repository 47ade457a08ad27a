"""Runs every command and code block of Markdown files, as they stand.

    python -m tests.run_docs README.md docs/*.md

Blocks of `sh` and `python` run in order, in a scratch folder that has what the text speaks of (see
`prepare`); those of a file share it. A comment before a block changes that:

    <!-- docs-test: not run: REASON -->
    <!-- docs-test: background, port 8500 -->

The first is listed with its reason. The second is started, and the next block runs once the port
answers; it is stopped at the end of the file. Exit code 1 if any block fails.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LANGUAGES = ("sh", "python")
TIMEOUT_S = 900
_PORT_TIMEOUT_S = 120
_DIRECTIVE = re.compile(r"<!-- docs-test: (?P<what>(?:(?!-->).)*) -->\s*$", re.DOTALL)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Block:
    """One block of a document.

    Attributes:
      place: file and line, for messages.
      language: one of `LANGUAGES`.
      code: what is in it.
      skipped: why it is not run; None if it is.
      port: that it serves in the background; None if it ends by itself.
    """

    place: str
    language: str
    code: str
    skipped: str | None = None
    port: int | None = None


def blocks_of(path: Path) -> Iterator[Block]:
    """The blocks that can be run.

    Raises:
      ValueError: a directive that is not understood.
    """
    text = path.read_text(encoding="utf-8")
    for fence in _FENCE.finditer(text):
        language, code = fence.groups()
        if language not in LANGUAGES:
            continue
        place = f"{path.name}:{text.count(chr(10), 0, fence.start()) + 1}"
        directive = _DIRECTIVE.search(text[: fence.start()])
        what = directive["what"] if directive else ""
        if what.startswith("not run: "):
            yield Block(place, language, code, skipped=what.removeprefix("not run: "))
        elif what.startswith("background, port "):
            yield Block(place, language, code, port=int(what.removeprefix("background, port ")))
        elif what:
            raise ValueError(f"{place}: unknown directive {what!r}")
        else:
            yield Block(place, language, code)


def prepare(folder: Path) -> None:
    """Puts what the documents speak of into a folder: a model, checkpoints, pictures.

    The model is LeViT-256 with random weights, and the PyTorch checkpoint is made from it.
    """
    import keras
    import numpy as np
    from PIL import Image

    import levit_tf
    from converters.calibration import calibration_images
    from converters.to_pytorch import convert
    from tests.randomize import randomize_keras

    keras.utils.set_random_seed(0)
    model = levit_tf.LeViT256(weights=None)
    randomize_keras(model)
    model.save(folder / "levit256.keras")
    convert(folder / "levit256.keras", folder / "LeViT-256-13b5763e.pth", "official")
    photographs = calibration_images("photographs", (240, 320)).astype(np.uint8)
    for number, pixels in enumerate(photographs[:24]):
        path = folder / "pictures" / ("ones", "others")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    Image.fromarray(photographs[0]).save(folder / "photo.jpg")
    Image.fromarray(photographs[1]).save(folder / "another.png")
    for name in ("benchmarks", "tests", "docs"):  # which are not installed
        (folder / name).symlink_to(ROOT / name)


def run_document(path: Path, prepared: Path) -> tuple[list[str], list[str], int]:
    """Runs the blocks of one file.

    Returns:
      (messages about blocks that failed, "place: reason" of blocks not run, number that passed).
    """
    failed, skipped, passed = [], [], 0
    servers = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "docs")
        shutil.copytree(prepared, folder, symlinks=True)
        try:
            for block in blocks_of(path):
                if block.skipped is not None:
                    skipped.append(f"{block.place}: {block.skipped}")
                    continue
                begin = time.monotonic()
                problem = _run(block, folder, servers)
                seconds = time.monotonic() - begin
                print(f"{'FAILED' if problem else 'passed'} {block.place} ({seconds:.0f} s)")
                if problem:
                    failed.append(f"{block.place}:\n{block.code}\n{problem}")
                else:
                    passed += 1
        finally:
            for server in servers:
                os.killpg(server.pid, signal.SIGTERM)
                server.wait()
    return failed, skipped, passed


def _run(block: Block, folder: Path, servers: list[subprocess.Popen]) -> str | None:
    """Runs one block; what went wrong, or None."""
    # The environment's own commands come first, as after `source .venv/bin/activate`.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    shells = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
    command = [*shells[block.language], block.code]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE if block.port is None else subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    if block.port is not None:
        servers.append(process)
        return _wait_for_port(process, block.port)
    try:
        output, _ = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"not done after {TIMEOUT_S} s"
    return None if process.returncode == 0 else f"exit code {process.returncode}\n{output}"


def _wait_for_port(process: subprocess.Popen, port: int) -> str | None:
    for _ in range(_PORT_TIMEOUT_S):
        if process.poll() is not None:
            return f"ended with exit code {process.returncode}"
        with socket.socket() as probe:
            if probe.connect_ex(("localhost", port)) == 0:
                return None
        time.sleep(1)
    return f"port {port} does not answer after {_PORT_TIMEOUT_S} s"


def main() -> int:
    """Runs the command; returns the exit code."""
    parser = argparse.ArgumentParser(description="Runs the code blocks of Markdown files.")
    parser.add_argument("files", nargs="+", type=Path)
    files = parser.parse_args().files
    failed, skipped, passed = [], [], 0
    with tempfile.TemporaryDirectory() as scratch:
        prepare(Path(scratch))
        for path in files:
            found = run_document(path, Path(scratch))
            failed += found[0]
            skipped += found[1]
            passed += found[2]
    for line in skipped:
        print(f"not run {line}")
    for message in failed:
        print(f"\nFAILED {message}")
    print(f"\n{passed} blocks passed, {len(failed)} failed, {len(skipped)} not run")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
