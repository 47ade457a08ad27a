"""Lets a module provide names without importing the modules that define them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def lazy_names(module: str, **homes: str) -> Callable[[str], Any]:
    """Returns a module's `__getattr__` (PEP 562) that imports each name on first use.

    For modules of commands: `from converters.to_tflite import to_tflite` works, but the command
    answers --help without TensorFlow.

    Args:
      module: `__name__` of the module.
      **homes: name -> module that defines it, followed by ":other" if it has another name there.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, there = homes[name].partition(":")
        return getattr(importlib.import_module(home), there or name)

    return get
