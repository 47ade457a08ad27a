"""Runs every command and code block of Markdown files, as they stand.

    python -m tests.run_docs README.md docs/*.md
    python -m tests.run_docs --backend=jax docs/keras.md

Blocks of `sh` and `python` run in order, in a scratch folder that has what the text speaks of (see
`prepare`); those of a file share it. A comment before a block changes that:

    <!-- docs-test: not run: REASON -->
    <!-- docs-test: background, port 8500 -->
    <!-- docs-test: expect top-1 >= 80 -->
    <!-- docs-test: expect "photo.jpg" -->
    <!-- docs-test: continues -->
    <!-- docs-test: on tensorflow, jax -->

The first is listed with its reason. The second is started, and the next block runs once the port
answers; it is stopped at the end of the file. With the third every number in a column of that name
(and of a unit, "top-1, %") in the tables that the block prints must be as large, and there must be
one; with the fourth the text must be printed. A Python block that continues goes on in the program
of the Python block before it, with its variables. The last is run on these of Keras' backends only.
Several are joined by "; ", what is expected last. A block that trains, evaluates or classifies has
to expect something, as such commands succeed with any result. Exit code 1 if any block fails.
"""

from __future__ import annotations

import argparse
import contextlib
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
BACKENDS = ("tensorflow", "jax", "torch")
TIMEOUT_S = 900
_PORT_TIMEOUT_S = 120
# Commands that end well whatever comes out of them.
JUDGED = ("training.main", "training.evaluate", "levit_tf.classify", "serving.edge")
_EXPECTED_NUMBER = re.compile(r"(?P<column>.+?) >= (?P<least>[0-9.]+)")
_EXPECTED_TEXT = re.compile(r'"(?P<text>[^"]+)"')
_DIRECTIVE = re.compile(r"<!-- docs-test: (?P<what>(?:(?!-->).)*) -->\s*$", re.DOTALL)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Expectation:
    """Something that the output of a block must have.

    Attributes:
      name: of a column in its tables, without the unit; or a text.
      least: the least that the numbers of the column may be; None for a text.
    """

    name: str
    least: float | None = None

    def problem(self, output: str) -> str | None:
        """What is wrong with an output, or None."""
        if self.least is None:
            return None if self.name in output else f"does not print {self.name!r}"
        numbers = list(_column(output, self.name))
        if not numbers:
            return f"prints no table with a column {self.name!r}"
        if min(numbers) < self.least:
            return f"{self.name} is {min(numbers):g}, expected at least {self.least:g}"
        return None


def _column(output: str, name: str) -> Iterator[float]:
    """The numbers in all columns of a name, in the Markdown tables of an output."""
    places: list[int] = []
    for line in output.splitlines():
        if not line.startswith("|"):
            places = []
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not places:
            places = [n for n, cell in enumerate(cells) if cell.partition(",")[0] == name] or [-1]
        elif places != [-1]:
            for place in places:
                with contextlib.suppress(ValueError):  # the line under the header
                    yield float(cells[place].replace(",", ""))


@dataclasses.dataclass(frozen=True)
class Block:
    """One block of a document.

    Attributes:
      place: file and line, for messages.
      language: one of `LANGUAGES`.
      code: what is in it, and in those that continue it.
      skipped: why it is not run; None if it is.
      port: that it serves in the background; None if it ends by itself.
      expected: what has to be in its output.
      line: where it begins in the document.
      continues: whether it is a part of the Python block before it.
    """

    place: str
    language: str
    code: str
    skipped: str | None = None
    port: int | None = None
    expected: tuple[Expectation, ...] = ()
    line: int = 0
    continues: bool = False


def blocks_of(path: Path, backend: str = BACKENDS[0]) -> Iterator[Block]:
    """The blocks that can be run, those that continue another as parts of it.

    Args:
      path: the document.
      backend: of Keras, one of `BACKENDS`.

    Raises:
      ValueError: a directive that is not understood, or that its block does not fit.
    """
    program = None  # what the next block may continue
    for block in _single_blocks(path, backend):
        if not block.continues:
            if program:
                yield program
            program = None
            if block.language == "python" and block.skipped is None:
                program = block
            else:
                yield block
        elif block.skipped is not None:
            yield block
        elif program is None:
            raise ValueError(f"{block.place}: no Python block before it that it could continue")
        else:
            program = _continued(program, block)
    if program:
        yield program


def _single_blocks(path: Path, backend: str) -> Iterator[Block]:
    text = path.read_text(encoding="utf-8")
    for fence in _FENCE.finditer(text):
        language, code = fence.groups()
        if language not in LANGUAGES:
            continue
        line = text.count("\n", 0, fence.start()) + 1
        directive = _DIRECTIVE.search(text[: fence.start()])
        what = directive["what"] if directive else ""
        block = Block(f"{path.name}:{line}", language, code, line=line)
        yield _directed(block, what, backend)


def _directed(block: Block, what: str, backend: str) -> Block:
    """A block with what its directive says."""
    if what.startswith("not run: "):
        return dataclasses.replace(block, skipped=what.removeprefix("not run: "))
    rest = what
    while rest and not rest.startswith("expect "):
        part, _, rest = rest.partition("; ")
        if part == "continues" and block.language == "python":
            block = dataclasses.replace(block, continues=True)
        elif part.startswith("background, port "):
            block = dataclasses.replace(block, port=int(part.removeprefix("background, port ")))
        elif part.startswith("on ") and set(backends := part[3:].split(", ")) <= set(BACKENDS):
            if backend not in backends:
                block = dataclasses.replace(block, skipped=f"not on {backend}")
        else:
            raise ValueError(f"{block.place}: unknown directive {what!r}")
    if rest:
        return dataclasses.replace(block, expected=_expectations(rest, block.place))
    if block.port is None and any(command in block.code for command in JUDGED):
        raise ValueError(
            f"{block.place}: trains, evaluates or classifies, and expects nothing. Put a comment "
            "before it, such as <!-- docs-test: expect top-1 >= 80 -->"
        )
    return block


def _continued(block: Block, by: Block) -> Block:
    """Two blocks as one program, whose line numbers stay those of the document."""
    gap = by.line - block.line - block.code.count("\n")
    return dataclasses.replace(
        block,
        code=block.code + "\n" * gap + by.code,
        expected=block.expected + by.expected,
    )


def _expectations(what: str, place: str) -> tuple[Expectation, ...]:
    found = []
    for part in what.removeprefix("expect ").split("; "):
        if match := _EXPECTED_NUMBER.fullmatch(part):
            found.append(Expectation(match["column"], float(match["least"])))
        elif match := _EXPECTED_TEXT.fullmatch(part):
            found.append(Expectation(match["text"]))
        else:
            raise ValueError(f"{place}: expected 'COLUMN >= NUMBER' or '\"TEXT\"', not {part!r}")
    return tuple(found)


def prepare(folder: Path) -> None:
    """Puts what the documents speak of into a folder: a model, checkpoints, pictures.

    The model is LeViT-256 with random weights, and the PyTorch checkpoint is made from it.
    """
    import keras
    import numpy as np
    from PIL import Image

    import levit_tf
    from converters.tflite.calibration import calibration_images
    from converters.to_pytorch import convert
    from tests.support.randomize import randomize_keras

    keras.utils.set_random_seed(0)
    model = levit_tf.LeViT256(weights=None)
    randomize_keras(model)
    model.save(folder / "levit256.keras")
    convert(folder / "levit256.keras", folder / "LeViT-256-13b5763e.pth", "official")
    photographs = calibration_images("photographs", (240, 320)).astype(np.uint8)
    for number, pixels in enumerate(photographs):  # the first half of one, the others of another
        name = ("palace", "flower")[2 * number // len(photographs)]
        path = folder / "pictures" / name / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    Image.fromarray(photographs[0]).save(folder / "photo.jpg")
    Image.fromarray(photographs[1]).save(folder / "another.png")
    for name in ("benchmarks", "tests", "docs"):  # which are not installed
        (folder / name).symlink_to(ROOT / name)


def run_document(
    path: Path, prepared: Path, backend: str = BACKENDS[0]
) -> tuple[list[str], list[str], int]:
    """Runs the blocks of one file on one of Keras' backends.

    Returns:
      (messages about blocks that failed, "place: reason" of blocks not run, number that passed).
    """
    failed, skipped, passed = [], [], 0
    servers = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "docs")
        shutil.copytree(prepared, folder, symlinks=True)
        try:
            for block in blocks_of(path, backend):
                if block.skipped is not None:
                    skipped.append(f"{block.place}: {block.skipped}")
                    continue
                begin = time.monotonic()
                problem = _run(block, folder, servers, backend)
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


def _run(block: Block, folder: Path, servers: list[subprocess.Popen], backend: str) -> str | None:
    """Runs one block; what went wrong, or None."""
    # The environment's own commands come first, as after `source .venv/bin/activate`.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "KERAS_BACKEND": backend}
    shells = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
    # Tracebacks of Python name the line of the document.
    code = "\n" * block.line + block.code if block.language == "python" else block.code
    command = [*shells[block.language], code]
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
    if process.returncode:
        return f"exit code {process.returncode}\n{output}"
    problems = [problem for one in block.expected if (problem := one.problem(output))]
    return f"{'; '.join(problems)}\n{output}" if problems else None


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
    parser.add_argument("--backend", choices=BACKENDS, default=BACKENDS[0], help="of Keras")
    args = parser.parse_args()
    failed, skipped, passed = [], [], 0
    with tempfile.TemporaryDirectory() as scratch:
        prepare(Path(scratch))
        for path in args.files:
            found = run_document(path, Path(scratch), args.backend)
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
