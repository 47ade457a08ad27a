"""Splits a graph of any file format into steps: each part has the operations that a step adds.

A graph is a list of operations in execution order, with the names of the tensors that each
operation reads and writes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Part:
    """The part of a graph that one step adds.

    Attributes:
      operations: its operations in execution order.
      answer: name of its output.
      state: names of tensors that it reads and that an earlier step or the caller has computed, in
        the order of their first use.
      made: names of the tensors that it computes.
    """

    operations: tuple[Any, ...]
    answer: str
    state: tuple[str, ...]
    made: frozenset[str]


def cut(
    operations: Sequence[Any],
    reads: Callable[[Any], Collection[str]],
    writes: Callable[[Any], Collection[str]],
    answers: Sequence[str],
    constants: Collection[str],
) -> list[Part]:
    """Splits a graph after the output of each step.

    Args:
      operations: all operations in execution order.
      reads: returns the names of the tensors that an operation reads.
      writes: returns the names of the tensors that an operation writes.
      answers: names of the steps' outputs, in their order.
      constants: names of constants in the file, which are available to every step.

    Returns:
      One part per output. Operations that no output needs are left out.
    """
    makers = {name: n for n, operation in enumerate(operations) for name in writes(operation)}
    taken: set[int] = set()
    parts = []
    for answer in answers:
        wanted, open_names = set(), [answer]
        while open_names:
            number = makers.get(open_names.pop())
            if number is not None and number not in taken | wanted:
                wanted.add(number)
                open_names.extend(reads(operations[number]))
        mine = [operations[number] for number in sorted(wanted)]
        made = {name for operation in mine for name in writes(operation)}
        read = dict.fromkeys(name for operation in mine for name in reads(operation))
        # The output may already have been computed by an earlier step.
        read |= {} if answer in made else {answer: None}
        state = tuple(name for name in read if name not in made and name not in constants)
        parts.append(Part(tuple(mine), answer, state, frozenset(made)))
        taken |= wanted
    return parts


def needed_later(parts: Sequence[Part], step: int) -> list[str]:
    """Returns the tensors that the steps from `step` on read but do not compute, by first use."""
    read = dict.fromkeys(name for part in parts[step:] for name in part.state)
    made = frozenset().union(*(part.made for part in parts[step:]))
    return [name for name in read if name not in made]
