"""Broken payloads among good ones: good ones are answered as ever, broken ones refused in words."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from serving.client import Client, RequestError
from serving.signatures import IMAGE_BYTES, PROBABILITIES, SERVING_DEFAULT
from tests.fuzz_pictures import damaged, expected_probabilities, fuzz_round
from tests.support.serving.export_serving import ask, shared_export, shared_session
from tests.support.serving.served_pictures import PICTURES
from tests.support.serving.serving_cases import running

pytestmark = pytest.mark.slow

MODEL = "levit"
GOOD = "JPEG without chroma subsampling"
BROKEN = 1000


def test_damaged_pictures_are_classified_or_refused():
    expected = expected_probabilities(shared_session())
    refused = sum(fuzz_round(shared_session(), number, expected) for number in range(60))
    assert 5 < refused < 60


def broken_payload(number):
    """Empty, truncated, no picture, a bomb, or damaged; always one that is refused."""
    rng = random.Random(number)
    kind = number % 5
    jpeg, png = PICTURES[GOOD], PICTURES["tiny PNG"]
    if kind == 0:
        return b""
    if kind == 1:
        return jpeg[: rng.randrange(4, 200)]
    if kind == 2:
        return rng.randbytes(rng.randrange(1, 5000)).replace(b"\xff\xd8", b"")
    if kind == 3:  # a PNG of 4 billion pixels
        return png[:16] + (65536).to_bytes(4, "big") * 2 + png[24:]
    return b"\x89PNG\r\n\x1a\n" + damaged(png[8:], rng)[:40]


def test_1000_broken_payloads_among_good_ones_leave_those_alone():
    export = shared_export()
    expected = ask(shared_session(), SERVING_DEFAULT, [PICTURES[GOOD]])[PROBABILITIES][0]

    def request(number):
        """What was wrong with the answer to one payload, or None."""
        is_good = number % 2 == 0
        content = PICTURES[GOOD] if is_good else broken_payload(number // 2)
        try:
            found = client.predict({IMAGE_BYTES: np.array([content, None], object)[:1]})
        except RequestError as error:
            return f"refused: {error}" if is_good or error.code != "INVALID_ARGUMENT" else None
        if not is_good:
            return f"payload {number // 2} was classified"
        difference = np.abs(found[PROBABILITIES][0] - expected).max()
        return None if difference < 1e-5 else f"differs by {difference}"

    with (
        running(model_base_path=str(export.path.parent), model_name=MODEL) as target,
        Client(target.grpc, MODEL) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        problems = [found for found in pool.map(request, range(2 * BROKEN)) if found]
    assert problems == []
