"""Cases of parametrised tests."""

from __future__ import annotations

from collections.abc import Sequence

import pytest


def some_slow(cases: Sequence, fast: Sequence) -> list:
    """Cases of one argument, of which those that are not in `fast` are marked slow."""
    return [case if case in fast else slow(case) for case in cases]


def slow(*values) -> object:
    """One case, of as many values as the test has arguments, that is left to the slow tests."""
    return pytest.param(*values, marks=pytest.mark.slow)


def long(*values) -> object:
    """One case of a slow test that `.ci/run` leaves out; another case shows the same there."""
    return pytest.param(*values, marks=pytest.mark.long)
