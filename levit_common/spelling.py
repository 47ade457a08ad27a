"""Names in messages: the known one nearest to a misspelled one, and the first of many."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from levit_common.picture_files import printable


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Returns a sentence that suggests the most similar known name, ignoring case.

    Args:
      name: the unknown name.
      known: the known names.
      cutoff: required similarity, 0..1; with 0 there is always a suggestion.

    Returns:
      " Did you mean 'nearest'?" with a leading space, to append to a sentence; "" if no name is
      similar enough.
    """
    by_key = {other.lower(): other for other in known}
    nearest = difflib.get_close_matches(name.lower(), by_key, n=1, cutoff=cutoff)
    return f" Did you mean {by_key[nearest[0]]!r}?" if nearest else ""


def shortened(names: Sequence[str], shown: int = 5, separator: str = ", ") -> str:
    """Returns the first names of a list, escaped for printing, and the number of the others.

    Args:
      names: the names.
      shown: largest number of names to show.
      separator: what is between two names.

    Returns:
      "ant, bee and 3 more", for example.
    """
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return separator.join(map(printable, names[:shown])) + more
