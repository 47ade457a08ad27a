"""Memory of unloaded models, handed back to the operating system."""

from __future__ import annotations

import ctypes
import sys


def give_back_memory() -> None:
    """Asks the C library to hand back what it keeps for later; nothing where it cannot."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
