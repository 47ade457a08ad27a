"""Classifies pictures by a server, on the command line.

    python -m serving.client PICTURE... [--server=localhost:8500] [--model=levit256] [--rest]
        [--version=N | --label=NAME] [--top=5]

Prints the name of each picture, of a classifier in steps also which exit answered, and below it the
likeliest classes with their probabilities. A picture that cannot be read, here or by the server, is
reported on stderr, and the others are classified all the same.
"""

from __future__ import annotations

import sys

from absl import flags

from levit_common import cli
from serving.client.client import DEFAULT_TIMEOUT_S, Client
from serving.client.errors import RequestError
from serving.client.options import (
    address,
    check_positive,
    check_server_flags,
    define_server_flags,
    tls,
)
from serving.client.screen import printable


def main(picture: str, *pictures: str) -> int:
    args = flags.FLAGS
    try:
        client = Client(
            address(),
            args.model,
            version=args.version,
            label=args.label,
            timeout_s=args.timeout,
            tls=tls(),
        )
        with client:
            all_classified = [_classify(client, path, args.top) for path in (picture, *pictures)]
    except (ValueError, OSError, ImportError) as error:
        print(printable(f"error: {error}"), file=sys.stderr)
        return 1
    return 0 if all(all_classified) else 1


def _classify(client: Client, picture: str, top: int) -> bool:
    """Classifies one picture and prints it. Returns whether it was one."""
    try:
        ((found, step),) = client.classify_with_exits([picture])
    except RequestError as error:
        if error.code != "INVALID_ARGUMENT":  # not the fault of this picture
            raise
        print(printable(f"error: {picture}: {error}"), file=sys.stderr)
        return False
    except ValueError as error:
        print(printable(f"error: {error}"), file=sys.stderr)
        return False
    print(printable(picture) + ("" if step is None else f"  (exit {step})"))
    for name, probability in found[:top]:
        print(printable(f"  {100 * probability:6.2f} %  {name}"))
    return True


def define_flags() -> None:
    define_server_flags()
    flags.DEFINE_integer("top", 5, "How many classes to name.", lower_bound=1)
    flags.DEFINE_float("timeout", DEFAULT_TIMEOUT_S, "Seconds for each picture.")


def check(*pictures: str) -> None:
    check_server_flags()
    check_positive("timeout")


COMMAND = cli.Command(main, define_flags, check, starts_keras=False)

if __name__ == "__main__":
    COMMAND.run()
