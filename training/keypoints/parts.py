"""Parts of a data set that has none of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.keypoints.people import Person

_SEED = 17


def drawn_parts(people: Sequence[Person]) -> list[list[Person]]:
    """Training, validation and test: eight tenths, one and one, drawn the same every time.

    People of one picture stay together, and nobody is in two parts.

    Raises:
      ValueError: there are fewer than three pictures.
    """
    by_picture: dict[str, list[Person]] = {}
    for person in people:
        by_picture.setdefault(person.source, []).append(person)
    if len(by_picture) < 3:
        raise ValueError(
            f"{len(by_picture)} pictures with labelled joints; a training, a validation and a test "
            "part need at least 3."
        )
    names = sorted(by_picture)
    order = np.random.default_rng(_SEED).permutation(len(names))
    tenth = max(1, len(names) // 10)
    indices = np.split(order, [len(names) - 2 * tenth, len(names) - tenth])
    return [[p for n in part for p in by_picture[names[n]]] for part in indices]
