"""Runs commands: parses the flags before Keras starts, and reports user errors in one line.

The module of a command imports only light modules at its top, so that `--help` and wrong arguments
are answered before Keras and TensorFlow start. It defines itself with a `Command`:

    COMMAND = cli.Command(main, define_flags)

    if __name__ == "__main__":
        COMMAND.run()
"""

from __future__ import annotations

import dataclasses
import inspect
import logging as standard_logging
import re
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from levit_common.choices import INPUT_RANGES, TRUST_HELP
from levit_common.quiet import start_keras

# Errors that a user can correct: a wrong file, a wrong value, a missing optional dependency.
# Everything else is a defect of this code and is shown with its traceback.
_USER_ERRORS = (ValueError, OSError, ImportError)
_INTERRUPTED = 130  # the exit code that shells give a program that Ctrl-C ended

flags.disclaim_key_flags()  # shared flags appear in the help of the commands that define them


def _nothing(*_: str) -> None:
    """Does nothing: for commands without own flags or without checks."""


@dataclasses.dataclass(frozen=True)
class Command:
    """A command-line tool that uses absl.

    Attributes:
      main: function that does the work. Its parameters are the positional arguments, which the
        docstring of the command explains; it returns the exit code, None for 0.
      define_flags: function that defines the flags.
      check: function with the parameters of `main` that is called before Keras starts; it raises
        ValueError or OSError for wrong flags and arguments.
      starts_keras: whether Keras is started, without its start messages, before `main` is called.
      error_code: exit code after a user error, including wrong flags.
    """

    main: Callable[..., int | None]
    define_flags: Callable[[], None] = _nothing
    check: Callable[..., None] = _nothing
    starts_keras: bool = True
    error_code: int = 1

    def run(self) -> None:
        """Runs the command with the arguments of this process, and exits with its exit code."""
        self.define_flags()
        app.run(self._run, flags_parser=self._parse)

    def call(self, arguments: Sequence[str]) -> int:
        """Runs the command without ending the process; its flags must be defined already.

        Args:
          arguments: command-line arguments without the program's name.

        Returns:
          The exit code.
        """
        try:
            return self._run(self._parse([sys.argv[0], *arguments]))
        except SystemExit as end:
            return end.code or 0

    def _parse(self, argv: Sequence[str]) -> list[str]:
        try:
            return flags.FLAGS(argv)
        except flags.Error as error:
            message = "; ".join(str(error).splitlines())
            print(f"error: {message} (--help lists the flags)", file=sys.stderr)
            sys.exit(self.error_code)
        except SystemExit:  # absl exits with 1 after --help
            sys.exit(0)

    def _run(self, argv: list[str]) -> int:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # libraries report their progress as INFO
        # It prints its messages itself; absl would print them again.
        standard_logging.getLogger("huggingface_hub").propagate = False
        try:
            self._check_positional(argv[1:])
            self.check(*argv[1:])
            if self.starts_keras:
                start_keras()
            return self.main(*argv[1:]) or 0
        except _USER_ERRORS as error:
            print(f"error: {error}", file=sys.stderr)
            return self.error_code
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return _INTERRUPTED

    def _check_positional(self, arguments: Sequence[str]) -> None:
        parameters = inspect.signature(self.main).parameters.values()
        many = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
        named = [p.name.upper() for p in parameters if p.kind is not p.VAR_POSITIONAL]
        if len(arguments) > len(named) and not many:
            raise ValueError(f"Unexpected arguments: {' '.join(arguments[len(named) :])}")
        if len(arguments) < len(named):
            raise ValueError(f"Missing arguments: {' '.join(named[len(arguments) :])}")


def define_input_range() -> None:
    """Defines --input_range, for models that do not note their input range."""
    flags.DEFINE_enum(
        "input_range",
        None,
        INPUT_RANGES,
        "Input range of a .keras model that does not note it: RGB 0..255, 0..1, -1..1, or "
        "normalised by levit_tf.preprocess_input.",
    )


def define_trust() -> None:
    """Defines --trust, for SavedModels from others."""
    flags.DEFINE_bool("trust", False, f"{TRUST_HELP[0].upper()}{TRUST_HELP[1:]}.")


def define_checkpoint_key() -> None:
    """Defines --checkpoint_key, for PyTorch files with several networks."""
    flags.DEFINE_string(
        "checkpoint_key",
        None,
        "Key of the state dict in a PyTorch checkpoint that holds several, such as model_ema.",
    )


def define_overwrite() -> None:
    """Defines --overwrite."""
    flags.DEFINE_bool("overwrite", False, "Replace an existing output.")


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
