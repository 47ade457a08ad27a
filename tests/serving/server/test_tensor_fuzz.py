"""Tensors of all kinds never end the server, nor make it answer that it is to blame."""

import http.client
import json

import numpy as np
import pytest

from tests.fuzz_tensors import LEVIT, fuzz_round, served
from tests.support.serving.export_serving import SIZE
from tests.support.serving.serving_cases import refusal

# Rounds of longer runs that once found something.
FOUND = [19208]  # a sum of each row of float (4294967296, 0)


@pytest.fixture(scope="module")
def target():
    with served() as target:
        yield target


def test_every_tensor_is_answered_or_refused(target):
    for number in (*range(200), *FOUND):
        fuzz_round(target, number)
    target.check_good()
    assert set(target.counts) == {"OK", "INVALID_ARGUMENT", "200", "400"}
    assert target.counts["OK"] > 10
    assert "Traceback" not in target.server.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(*SIZE, 3), (1, *SIZE, 1), (1, SIZE[0] - 2, SIZE[1], 3)])
def test_a_picture_of_another_shape_does_not_end_the_server(target, shape):
    pixels = np.zeros(shape, np.float32)
    expected = f"input tensor images: expected float (batch, {SIZE[0]}, {SIZE[1]}, 3), got float"
    _, message = refusal(
        target.server.target.predict, {"images": pixels}, "image_tensor", name=LEVIT
    )
    assert message == f"{expected} {shape}"
    connection = http.client.HTTPConnection(target.server.target.rest, timeout=20)
    document = {"signature_name": "image_tensor", "inputs": pixels.tolist()}
    connection.request("POST", f"/v1/models/{LEVIT}:predict", json.dumps(document))
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["error"]) == (400, message)
    connection.close()
    target.check_good()
