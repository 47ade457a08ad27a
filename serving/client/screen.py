"""Text of others on a terminal: what a server calls its classes must not move the cursor."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """`text` with control characters, of which terminal codes are made, written as escapes."""
    return "".join(c if unicodedata.category(c) != "Cc" else ascii(c)[1:-1] for c in text)
