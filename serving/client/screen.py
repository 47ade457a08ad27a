"""Makes text safe for a terminal: class names from a server must not move the cursor."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """Returns `text` with control characters, as in terminal codes, replaced by escapes."""
    return "".join(c if unicodedata.category(c) != "Cc" else ascii(c)[1:-1] for c in text)
