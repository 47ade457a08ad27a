"""Suggests a known name for a misspelled one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
