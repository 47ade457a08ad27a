"""Feeds the exported graph pictures that are damaged in every way, as TensorFlow Serving runs it.

    python -m tests.fuzz_pictures --seconds=600

Whatever the bytes are, the answer is probabilities, or an error that the client can be blamed for;
and a good picture asked beside them is answered as ever. A crash of a decoder ends the program,
which then has said the number of the round: --first=ROUND repeats it. The quick tests run a few
rounds.
"""

from __future__ import annotations

import argparse
import random
import time

import numpy as np

from serving.signatures import PROBABILITIES, SERVING_DEFAULT
from serving.tensorflow_c.c_api import SavedModelSession, TensorFlowError
from tests.support.serving.export_serving import ask, shared_session
from tests.support.serving.served_pictures import PICTURES

_INVALID_ARGUMENT = 3
# What headers and lengths are made of at their limits.
_EXTREMES = [b"\x00", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x01"]


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, cut off, left out, repeated, or taken from another picture."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        # Headers are where decoders decide what to do; the rest is mostly pixels.
        place = rng.randrange(min(len(data), 200) if rng.random() < 0.6 else len(data))
        kind = rng.randrange(6)
        if kind == 0:
            data[place] = rng.randrange(256)
        elif kind == 1:
            extreme = rng.choice(_EXTREMES)
            data[place : place + len(extreme)] = extreme
        elif kind == 2:
            del data[place : place + rng.choice((1, 2, 16, 1000))]
        elif kind == 3:
            data[place:place] = data[place : place + rng.choice((1, 16, 1000))]
        elif kind == 4:
            del data[max(place, 1) :]
        else:
            other = rng.choice(list(PICTURES.values()))
            data[place:] = other[place:]
        data = data or bytearray(b"\x00")
    return bytes(data)


def fuzz_round(session: SavedModelSession, number: int, expected: dict[str, np.ndarray]) -> bool:
    """Asks for one damaged picture alone, and for it beside a good one.

    Args:
      session: of an exported LeViT.
      number: of the round; the same number damages the same picture in the same way.
      expected: probabilities of each of `PICTURES`.

    Returns:
      Whether it was refused.

    Raises:
      AssertionError: an answer or an error is not one that there may be.
    """
    rng = random.Random(number)
    content = damaged(PICTURES[rng.choice(list(PICTURES))], rng)
    name = rng.choice(list(PICTURES))
    alone, error = _answer(session, [content])
    both, error_of_both = _answer(session, [PICTURES[name], content])
    if error is None:
        assert error_of_both is None, number
        assert np.isfinite(alone).all(), number
        np.testing.assert_allclose(alone.sum(), 1, rtol=1e-4, err_msg=str(number))
        np.testing.assert_allclose(both[0], expected[name], atol=1e-5, err_msg=str(number))
        np.testing.assert_allclose(both[1], alone[0], atol=1e-5, err_msg=str(number))
        return False
    assert error.code == _INVALID_ARGUMENT, (number, error)
    assert error_of_both is not None, number
    assert error_of_both.code == _INVALID_ARGUMENT, (number, error_of_both)
    assert "picture 1 of 2" in error_of_both.message, (number, error_of_both)
    return True


def _answer(
    session: SavedModelSession, contents: list[bytes]
) -> tuple[np.ndarray | None, TensorFlowError | None]:
    """The probabilities of pictures, or the error."""
    try:
        return ask(session, SERVING_DEFAULT, contents)[PROBABILITIES], None
    except TensorFlowError as error:
        return None, error


def expected_probabilities(session: SavedModelSession) -> dict[str, np.ndarray]:
    """The answers for the pictures as they are."""
    return {
        name: ask(session, SERVING_DEFAULT, [content])[PROBABILITIES][0]
        for name, content in PICTURES.items()
    }


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description="Fuzzes the decoding of pictures.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--first", type=int, default=0, help="round to begin with")
    options = parser.parse_args()
    session = shared_session()
    expected = expected_probabilities(session)
    end, number, refused = time.monotonic() + options.seconds, options.first, 0
    while time.monotonic() < end:
        print(f"\rround {number}", end="", flush=True)
        refused += fuzz_round(session, number, expected)
        number += 1
    done = number - options.first
    print(f"\r{done} damaged pictures: {refused} refused, {done - refused} classified")


if __name__ == "__main__":
    main()
