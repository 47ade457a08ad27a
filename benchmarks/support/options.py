"""Flags that several benchmarks define."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

flags.disclaim_key_flags()  # --help of a benchmark shows those that are defined here for it

FOLDER = "runs/benchmarks"


def command_name() -> str:
    """The benchmark that this process runs, as `python -m` takes it."""
    return f"benchmarks.{Path(sys.argv[0]).stem}"


def define_output() -> None:
    """`--output` and `--page`, where `results.publish` writes."""
    flags.DEFINE_string("output", FOLDER, "Folder for the JSON and the picture.")
    flags.DEFINE_string("page", None, "Page of docs/ that the table goes into, too.")
    flags.register_validator("page", _check_page)


def _check_page(page: str | None) -> bool:
    """Whether a page has a place for a table of this benchmark, which is not known too early."""
    if page is None:
        return True
    name = command_name().rpartition(".")[2]  # that of a further table begins with it
    try:
        content = Path(page).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise flags.ValidationError(f"cannot be read: {error}") from error
    if not re.search(rf"<!-- benchmark: {name}\w* -->", content):
        raise flags.ValidationError(
            f"has no lines <!-- benchmark: {name} --> and <!-- end: {name} --> for the table to "
            "stand between"
        )
    return True


def define_race(turns: int, seconds: float = 0.3) -> None:
    """Flags of a benchmark whose contenders take turns in processes of their own.

    Args:
      turns: default of `--turns`.
      seconds: default of `--seconds`.
    """
    flags.DEFINE_integer("turns", turns, "Turns of each contender.", lower_bound=1)
    flags.DEFINE_float("seconds", seconds, "Seconds of a turn, about.", lower_bound=0)
    define_output()
    define_internal("worker", "folder")


def define_internal(*names: str) -> None:
    """Flags by which a benchmark starts itself in other processes."""
    for name in names:
        flags.DEFINE_string(name, None, "Used by the benchmark itself.")


def define_grid(variants: Sequence[str], note: str = "") -> None:
    """`--variants`, `--batches` and `--threads`, all combinations of which are measured.

    Args:
      variants: default of `--variants`.
      note: added to the help of `--batches`, such as "; TFLite takes one".
    """
    flags.DEFINE_list("variants", list(variants), "Variants to measure.")
    flags.DEFINE_list("batches", ["1", "16"], f"Pictures in a call{note}.")
    flags.DEFINE_list("threads", ["1", "2"], "Threads of each contender.")


def define_some_of(name: str, known: Sequence[str]) -> None:
    """A flag that takes some of `known`, separated by commas, and all of them by default."""
    flags.DEFINE_list(name, list(known), f"Comma-separated choice from {', '.join(known)}.")

    def check(values: Sequence[str]) -> bool:
        if unknown := [value for value in values if value not in known]:
            raise flags.ValidationError(
                f"expected some of {', '.join(known)}. Received: {unknown[0]}"
            )
        return True

    flags.register_validator(name, check)
