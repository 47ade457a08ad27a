"""Classifies pictures on the command line, using a server.

    python -m serving.client PICTURE... [--server=localhost:8500] [--model=levit256] [--rest]
        [--version=N | --label=NAME] [--top=5] [--joints]

A PICTURE is a file, or a folder of them. It prints the name of each picture (for a dynamic
classifier also the exit that was used), then the most probable classes with their probabilities.
With --joints, for a model that predicts joints, it prints their positions in pixels of the picture
and their confidences. An unreadable picture is reported on stderr, and the others are sent
nevertheless.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator

from absl import flags

from levit_common import cli
from levit_common.picture_files import expanded, printable
from serving.client.client import DEFAULT_TIMEOUT_S, Client
from serving.client.errors import RequestError
from serving.client.options import (
    address,
    check_positive,
    check_server_flags,
    define_server_flags,
    tls,
)

# Refusals of a single picture. A server refuses a message that is too large for it in the same way
# as one that it has no memory for; the next picture may be smaller in both cases.
_OF_ONE_PICTURE = ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED")


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
            ask = _find_joints if args.joints else functools.partial(_classify, top=args.top)
            files = expanded((picture, *pictures))
            all_classified = [_answered(client, path, ask) for path in files]
    except (ValueError, OSError, ImportError) as error:
        print(printable(f"error: {error}"), file=sys.stderr)
        return 1
    return 0 if all(all_classified) else 1


def _answered(client: Client, picture: str, ask: Callable[[Client, str], Iterator[str]]) -> bool:
    """Asks about one picture and prints the result. Returns False if the picture is refused."""
    try:
        lines = list(ask(client, picture))
    except RequestError as error:
        if error.code not in _OF_ONE_PICTURE:
            raise
        print(printable(f"error: {picture}: {error}"), file=sys.stderr)
        return False
    except ValueError as error:
        print(printable(f"error: {error}"), file=sys.stderr)
        return False
    for line in lines:
        print(printable(line))
    return True


def _classify(client: Client, picture: str, top: int) -> Iterator[str]:
    ((found, step),) = client.classify_with_exits([picture])
    yield picture + ("" if step is None else f"  (exit {step})")
    for name, probability in found[:top]:
        yield f"  {100 * probability:6.2f} %  {name}"


def _find_joints(client: Client, picture: str) -> Iterator[str]:
    (found,) = client.find_joints([picture])
    yield picture
    for joint in found:
        yield f"  {joint.name:15} {joint.x:8.1f} {joint.y:8.1f} {joint.confidence:6.2f}"


def define_flags() -> None:
    define_server_flags()
    flags.DEFINE_integer("top", 5, "Largest number of classes to print.", lower_bound=1)
    flags.DEFINE_bool("joints", False, "Print joints, for a model that predicts them.")
    flags.DEFINE_float("timeout", DEFAULT_TIMEOUT_S, "Seconds for each picture.")


def check(*pictures: str) -> None:
    check_server_flags()
    check_positive("timeout")


COMMAND = cli.Command(main, define_flags, check, starts_keras=False)

if __name__ == "__main__":
    COMMAND.run()
