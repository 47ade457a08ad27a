"""Names that a module offers without importing where they are from."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def lazy_names(module: str, **homes: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module (PEP 562) that imports a name's home when it is asked for.

    For the modules of commands: `from converters.to_tflite import to_tflite` works as ever, and the
    command answers --help without TensorFlow.

    Args:
      module: `__name__` of the module.
      **homes: name -> the module that defines it, with ":other" where it has another name there.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, there = homes[name].partition(":")
        return getattr(importlib.import_module(home), there or name)

    return get
