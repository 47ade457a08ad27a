"""What the command-line tools share: a user's error in one line, and sizes."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

# What a user can put right: a wrong file, a wrong value, a missing optional dependency. Everything
# else is a defect of this code and keeps its traceback.
_USER_ERRORS = (ValueError, OSError, ImportError)


def run(main: Callable[[list[str]], None]) -> None:
    """Runs `main` under absl; a user's error becomes `error: ...` on stderr and exit code 1.

    Misused flags are reported by absl itself, also with exit code 1.

    Args:
      main: takes the positional arguments that absl leaves over, the program's name first.
    """
    from absl import app, flags, logging

    def guarded(argv: list[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # libraries report their progress as INFO
        try:
            if len(argv) > 1:
                raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}")
            main(argv)
        except _USER_ERRORS as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)

    app.run(guarded)


def define_input_range() -> None:
    """Defines --input_range, for models that do not say what they take."""
    from absl import flags

    from levit_tf.preprocessing import INPUT_RANGES

    flags.DEFINE_enum(
        "input_range",
        None,
        tuple(INPUT_RANGES),
        "What a .keras model takes, where nothing in it says so: RGB 0..255, 0..1, -1..1, or "
        "normalised by levit_tf.preprocess_input.",
    )


def define_trust() -> None:
    """Defines --trust, for SavedModels of others."""
    from absl import flags

    from levit_tf.opening.files import TRUST_HELP

    flags.DEFINE_bool("trust", False, f"{TRUST_HELP[0].upper()}{TRUST_HELP[1:]}.")


def parse_size(text: str) -> tuple[int, int]:
    """Parses "224" (a square) or "224x320" (height x width).

    Returns:
      (height, width).

    Raises:
      ValueError: `text` is neither.
    """
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text.strip().lower())
    height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if height < 1 or width < 1:
        raise ValueError(
            f"A size is HEIGHTxWIDTH or one positive number, such as 224x320 or 224. "
            f"Received: {text!r}"
        )
    return height, width
