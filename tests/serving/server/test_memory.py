"""What small requests took from a server of its own comes back when they are answered."""

import contextlib
import json
import time

import grpc
import numpy as np
import pytest
from tensorflow.core.framework import types_pb2
from tensorflow.core.framework.tensor_pb2 import TensorProto

from serving.tensorflow_c.c_memory import give_back_pages
from tests.fuzz_tensors import LEVIT, resident, resident_at_rest, served
from tests.support.serving.served_pictures import PICTURES, blank_png, with_scans
from tests.support.serving.serving_rest_cases import call

SHARE = 1.2  # of the memory at rest


@pytest.fixture(scope="module")
def target():
    with served() as target:
        for _ in range(20):
            target.check_good()
        yield target


def strings(*values, dims=None):
    tensor = TensorProto(dtype=types_pb2.DT_STRING, string_val=values)
    for size in dims or [len(values)]:
        tensor.tensor_shape.dim.add(size=size)
    return {"image_bytes": tensor}


def repeated(shape):
    tensor = TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1.0])
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return {"images": tensor}


ATTACKS = {
    "a string that stands for many": (strings(b"x" * 8 * 2**20, dims=[2000]), ""),
    "an empty string that stands for many": (strings(b"", dims=[100_000]), ""),
    "large pictures of few bytes": (strings(*[blank_png(7000)] * 4), ""),
    "pictures that are a bit smaller": (strings(*[blank_png(2400)] * 30), ""),
    "many pictures of one pixel": (strings(*[PICTURES["tiny PNG"]] * 128), ""),
    "a JPEG of many scans": (strings(with_scans(200, (500, 500))), ""),
    "a large message that is refused": (strings(*[b"x" * 2**20] * 60, dims=[60, 1]), ""),
    "a number that stands for many": (repeated((900, 64, 96, 3)), "image_tensor"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ATTACKS)
def test_memory_comes_back(target, kind):
    process = target.server.popen.pid
    idle = resident(process)
    inputs, signature = ATTACKS[kind]
    started = time.monotonic()
    for _ in range(3):
        with contextlib.suppress(grpc.RpcError):
            target.server.target.predict(inputs, signature, name=LEVIT, timeout=60)
    assert time.monotonic() - started < 90
    assert resident_at_rest(process, SHARE * idle) <= SHARE * idle
    target.check_good()


@pytest.mark.slow
def test_ten_thousand_empty_strings_over_rest_take_nothing(target):
    idle = resident(target.server.popen.pid)
    port = int(target.server.target.rest.rpartition(":")[2])
    document = json.dumps({"instances": [{"b64": ""}] * 10_000})
    assert call(port, "POST", f"/v1/models/{LEVIT}:predict", document)[0] == 400
    assert resident(target.server.popen.pid) < idle + 60


@pytest.mark.slow
def test_free_pages_of_tensorflow_are_handed_back_and_what_is_used_is_not():
    import tensorflow as tf

    kept = tf.random.stateless_uniform([2**20], [1, 2])
    expected = kept.numpy().copy()
    large = tf.ones([2**27])  # half a gigabyte
    assert float(large[5]) == 1
    del large
    with open("/proc/self/status") as status:
        most = int(status.read().partition("VmHWM:")[2].split()[0]) * 1024
    given = give_back_pages(most)
    # Where TensorFlow has no oneDNN, the C library gave them back by itself.
    assert given > 2**28 or not _keeps_memory()
    assert give_back_pages(most) < 2**27
    np.testing.assert_array_equal(kept.numpy(), expected)
    assert float(tf.reduce_sum(tf.ones([2**20]))) == 2**20


def _keeps_memory():
    import os

    return os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0"
