"""What somebody may have meant who wrote a name that there is not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The nearest known name, upper and lower case being alike, as a sentence.

    Args:
      name: as it was written.
      known: the names that there are.
      cutoff: how alike they have to be, 0..1; 0 finds one always.

    Returns:
      " Did you mean 'nearest'?" with the space before it, to be put behind a sentence; "" if none
      is near.
    """
    by_key = {other.lower(): other for other in known}
    nearest = difflib.get_close_matches(name.lower(), by_key, n=1, cutoff=cutoff)
    return f" Did you mean {by_key[nearest[0]]!r}?" if nearest else ""
