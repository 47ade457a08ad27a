"""Classifies pictures by a server, on the command line.

    python -m serving.client PICTURE... [--server=localhost:8500] [--model=levit256] [--rest]
        [--version=N | --label=NAME] [--top=5]

Prints the name of each picture and below it the likeliest classes with their probabilities. A
picture that cannot be read, here or by the server, is reported on stderr, and the others are
classified all the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from serving.client.client import DEFAULT_TIMEOUT_S, Client
from serving.client.errors import RequestError
from serving.client.options import add_server_options, address, positive, seconds, tls
from serving.client.screen import printable


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
      arguments: what stands after the program's name; `sys.argv`'s by default.

    Returns:
      The exit status: 0; or 1 if any picture was not classified.

    Raises:
      SystemExit: the arguments make no sense (status 2), or ask for help.
    """
    options = _parser().parse_intermixed_args(arguments)
    try:
        client = Client(
            address(options),
            options.model,
            version=options.version,
            label=options.label,
            timeout_s=options.timeout,
            tls=tls(options),
        )
        with client:
            all_classified = [_classify(client, path, options.top) for path in options.pictures]
    except (ValueError, OSError, ImportError) as error:
        print(printable(f"error: {error}"), file=sys.stderr)
        return 1
    return 0 if all(all_classified) else 1


def _classify(client: Client, picture: str, top: int) -> bool:
    """Classifies one picture and prints it. Returns whether it was one."""
    try:
        (found,) = client.classify([picture])
    except RequestError as error:
        if error.code != "INVALID_ARGUMENT":  # not the fault of this picture
            raise
        print(printable(f"error: {picture}: {error}"), file=sys.stderr)
        return False
    except ValueError as error:
        print(printable(f"error: {error}"), file=sys.stderr)
        return False
    print(printable(picture))
    for name, probability in found[:top]:
        print(printable(f"  {100 * probability:6.2f} %  {name}"))
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.client",
        description="Classifies pictures by TensorFlow Serving or the stand-in.",
    )
    add_server_options(parser)
    parser.add_argument(
        "--top", type=positive, default=5, help="how many classes to name (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=DEFAULT_TIMEOUT_S,
        metavar="SECONDS",
        help="for each picture (default: %(default)g)",
    )
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="files")
    return parser


if __name__ == "__main__":
    sys.exit(main())
