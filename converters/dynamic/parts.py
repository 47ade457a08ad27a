"""Which operations of a graph a step needs that no earlier one has computed: for any file format.

A graph is seen as operations in the order in which they run, each with names of what it reads and
what it writes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Part:
    """What one step adds.

    Attributes:
      operations: its operations, in the order in which they run.
      answer: name of what it answers with.
      state: names of what it reads and an earlier step, or the caller, has made; in the order of
        their first use.
      made: names of what it makes.
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
    """Cuts a graph where its answers come out.

    Args:
      operations: all of them, in the order in which they run.
      reads: names that an operation reads.
      writes: names that it writes.
      answers: what the steps answer with, in their order.
      constants: names that are part of the file, which no step has to hand on.

    Returns:
      A part for each answer. An operation that no answer needs is in none.
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
        # An answer that an earlier step has computed on its way.
        read |= {} if answer in made else {answer: None}
        state = tuple(name for name in read if name not in made and name not in constants)
        parts.append(Part(tuple(mine), answer, state, frozenset(made)))
        taken |= wanted
    return parts


def needed_later(parts: Sequence[Part], step: int) -> list[str]:
    """What the steps from `step` on read and do not make, in the order of its first use."""
    read = dict.fromkeys(name for part in parts[step:] for name in part.state)
    made = frozenset().union(*(part.made for part in parts[step:]))
    return [name for name in read if name not in made]
