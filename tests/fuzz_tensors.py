"""Sends tensors of any rank, shape, dtype and content to a server in a process of its own.

    python -m tests.fuzz_tensors --seconds=600

Over gRPC and REST, to every signature of an exported LeViT and of a small model. Whatever is sent,
the answer comes within seconds and is a result or an error that the client can be blamed for, and a
good request is answered as ever. --first=ROUND begins with the round that a failure names. The
quick tests run a few rounds.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import http.client
import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
from tensorflow.core.framework import types_pb2
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    SignatureDefMap,
)
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from serving.tensorflow_c.c_tensors import item_bytes
from tests.support.serving.export_serving import shared_export
from tests.support.serving.served_pictures import PICTURES
from tests.support.serving.serving_cases import MODEL, Process, process, shared_model

LEVIT = "levit"
TIMEOUT_S = 20
_ANSWERS = {"OK", "INVALID_ARGUMENT", "200", "400"}  # over gRPC and REST
_LATE = "no answer in time"
_SKIPPED = {"sleep"}  # which waits
_WITHOUT_JSON = {"echo"}  # some of its dtypes have no form in JSON: 501
_MOST_ELEMENTS = 2**16
_SIZES = [0, 1, 2, 3, 4, 5, 7, 31, 32, 33, 64, 96, 255]
_HUGE = [2**16, 2**24, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, -1, -2, -(2**63)]
_DTYPES = [*range(40), *range(99, 135), 2**31 - 1]
_FLOATS = [0.0, -0.0, 1.0, 127.5, 255.0, -1e30, 1e38, float("inf"), float("-inf"), float("nan")]
_STRINGS = [b"", b"\x00", b"a", b"1", b"\xff\xd8\xff", b"BM" + bytes(60), b"GIF89a", b"x" * 3000]
_STRINGS += [content[:n] for content in list(PICTURES.values())[:3] for n in (40, 10**9)]
_JSON_LEAVES = [0, 1, -1, 2.5, 1e308, 10**30, True, None, "a", "", {}, {"b64": ""}, {"b64": "aGk="}]
_JSON_LEAVES += [{"b64": "/9j/"}, {"b64": "?"}, {"x": 1}, [], float("nan"), float("inf")]


@dataclasses.dataclass
class Target:
    """A server under test and what it declares.

    Attributes:
      server: its process.
      signatures: (model, name) -> SignatureDef.
      good: a request that is right.
      answer: to that.
      counts: how often each answer came.
      slowest: seconds that an answer took at most.
    """

    server: Process
    signatures: dict
    good: PredictRequest
    answer: bytes = b""
    counts: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    slowest: float = 0.0

    def check_good(self) -> None:
        """Fails unless the server is alive and answers as at the beginning."""
        assert self.server.popen.poll() is None, self.server.log.read_text()[-3000:]
        response = self.server.target.predictions.Predict(self.good, TIMEOUT_S)
        found = response.SerializeToString(deterministic=True)
        self.answer = self.answer or found
        assert found == self.answer


@contextlib.contextmanager
def served(*flags: str) -> Iterator[Target]:
    """Serves an exported LeViT and the small model of the tests, with more flags of the server."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "models.config")
        bases = {LEVIT: shared_export().path.parent, MODEL: shared_model()}
        entries = [
            f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" }}'
            for name, base in bases.items()
        ]
        config.write_text(f"model_config_list {{ {' '.join(entries)} }}")
        with process(Path(folder), f"--model_config_file={config}", *flags) as server:
            assert server.popen.poll() is None, server.log.read_text()[-3000:]
            signatures = {}
            for model in bases:
                request = GetModelMetadataRequest(metadata_field=["signature_def"])
                request.model_spec.name = model
                found = server.target.predictions.GetModelMetadata(request, TIMEOUT_S)
                definitions = SignatureDefMap()
                found.metadata["signature_def"].Unpack(definitions)
                for name, definition in definitions.signature_def.items():
                    if definition.inputs and name not in _SKIPPED:
                        signatures[model, name] = definition
            good = PredictRequest()
            good.model_spec.name = LEVIT
            good.inputs["image_bytes"].dtype = types_pb2.DT_STRING
            good.inputs["image_bytes"].tensor_shape.dim.add(size=1)
            good.inputs["image_bytes"].string_val.append(next(iter(PICTURES.values())))
            target = Target(server, dict(sorted(signatures.items())), good)
            target.check_good()
            yield target


def fuzz_round(target: Target, number: int) -> None:
    """Sends the request of a round, always the same, over gRPC or REST.

    A machine that does something else for a while makes a server late as well. So an answer that
    does not come in time is asked for again, after a good request: a server that is late with
    either is to blame.

    Raises:
      AssertionError: there is no answer, or one that there must not be.
    """
    found = _ask(target, number)
    if found == _LATE:
        target.counts["late, but not again"] += 1
        target.check_good()
        found = _ask(target, number)
    answer = found.partition(" ")[0]
    assert answer in _ANSWERS, (number, found)
    target.counts[answer] += 1


def _ask(target: Target, number: int) -> str:
    """The status and the message of the answer to a round's request, or `_LATE`."""
    rng = random.Random(number)
    (model, name), definition = rng.choice(list(target.signatures.items()))
    over_grpc = rng.random() < 0.6 or name in _WITHOUT_JSON
    ask = _over_grpc if over_grpc else _over_rest
    started = time.monotonic()
    found = ask(target, rng, model, name, definition)
    seconds = time.monotonic() - started
    if found != _LATE:
        target.slowest = max(target.slowest, seconds)
    return found if seconds < TIMEOUT_S else _LATE


def _over_grpc(target, rng, model, name, definition) -> str:
    request = PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, name
    for alias, info in definition.inputs.items():
        request.inputs[alias].CopyFrom(_tensor(rng, info))
    try:
        target.server.target.predictions.Predict(request, TIMEOUT_S)
        return "OK"
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
            return _LATE
        return f"{error.code().name} {error.details()}"


def _over_rest(target, rng, model, name, definition) -> str:
    values = {alias: _json(rng, info) for alias, info in sorted(definition.inputs.items())}
    content: object = values
    if len(values) == 1 and rng.random() < 0.7:
        (content,) = values.values()
    key = rng.choice(["inputs", "instances"])
    if key == "instances" and (isinstance(content, dict) or rng.random() < 0.2):
        content = [content]
    body = json.dumps({"signature_name": name, key: content})
    connection = http.client.HTTPConnection(target.server.target.rest, timeout=TIMEOUT_S)
    try:
        connection.request("POST", f"/v1/models/{model}:predict", body)
        response = connection.getresponse()
        return f"{response.status} {response.read().decode()[:300]}"
    except TimeoutError:
        return _LATE
    finally:
        connection.close()


def _shape(rng: random.Random, info) -> list[int]:
    """Mostly near what is declared."""
    declared = [dim.size for dim in info.tensor_shape.dim]
    shape = [rng.choice((1, 1, 2, 3)) if size < 0 else size for size in declared]
    kind = rng.randrange(8)
    if kind == 0:
        return [rng.choice(_SIZES) for _ in range(rng.randrange(7))]
    if kind == 1 and shape:
        del shape[rng.randrange(len(shape))]
    elif kind == 2:
        shape.insert(rng.randrange(len(shape) + 1), rng.choice(_SIZES))
    elif kind == 3 and shape:
        shape[rng.randrange(len(shape))] = rng.choice(_SIZES)
    elif kind == 4 and shape:
        shape[rng.randrange(len(shape))] += rng.choice((-1, 1))
    elif kind == 5:
        rng.shuffle(shape)
    return [max(size, 0) for size in shape]


def _tensor(rng: random.Random, info) -> TensorProto:
    tensor = TensorProto(dtype=info.dtype)
    if rng.random() < 0.15:
        tensor.dtype = rng.choice(_DTYPES)
    shape = _shape(rng, info)
    if rng.random() < 0.08:
        shape.insert(rng.randrange(len(shape) + 1), rng.choice(_HUGE))
    if rng.random() < 0.02:
        shape += [1] * rng.choice((8, 9, 249, 250, 251, 300, 5000))
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_shape.unknown_rank = rng.random() < 0.03
    elements = int(np.prod(np.array(shape, object))) if shape else 1
    count = elements if 0 <= elements <= _MOST_ELEMENTS else rng.randrange(4)
    count = rng.choice([count] * 6 + [0, 1, count // 2, count + 1])
    kind = rng.randrange(10)
    if tensor.dtype == types_pb2.DT_STRING and kind < 8:
        tensor.string_val.extend(rng.choice(_STRINGS) for _ in range(min(count, 64)))
    elif kind < 6:
        size = item_bytes(tensor.dtype % 100) or 4
        tensor.tensor_content = rng.choice((bytes, rng.randbytes))(count * size)
    elif kind < 8:
        tensor.float_val.extend(rng.choice(_FLOATS) for _ in range(min(count, 999)))
    elif kind == 8:
        tensor.int_val.extend(rng.randrange(-(2**31), 2**31) for _ in range(min(count, 999)))
    else:
        tensor.string_val.extend(rng.choice(_STRINGS) for _ in range(rng.randrange(3)))
        tensor.float_val.append(rng.choice(_FLOATS))
        tensor.tensor_content = rng.randbytes(rng.randrange(9))
    return tensor


def _json(rng: random.Random, info) -> object:
    shape = _shape(rng, info)
    while np.prod([max(size, 1) for size in shape]) > _MOST_ELEMENTS:
        shape[int(np.argmax(shape))] = 2
    good = {types_pb2.DT_STRING: "1", types_pb2.DT_BOOL: True}.get(info.dtype, 1.5)
    leaf = rng.choice(_JSON_LEAVES) if rng.random() < 0.3 else good
    value = np.full(shape, None, object)
    value.fill(leaf)
    listed = value.tolist()
    if isinstance(listed, list) and listed and rng.random() < 0.15:  # not regular any more
        place = rng.randrange(len(listed))
        listed[place] = rng.choice([rng.choice(_JSON_LEAVES), [listed[place]], listed])
        listed = listed if listed[place] is not listed else [listed[:place]]
    return listed


def resident(pid: int) -> float:
    """The memory of a process, MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def resident_at_rest(pid: int, enough: float) -> float:
    """The memory of a process, MiB, as soon as it is at most `enough`, after 30 s at the latest."""
    end = time.monotonic() + 30
    while (found := resident(pid)) > enough and time.monotonic() < end:
        time.sleep(0.2)
    return found


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--first", type=int, default=0, help="round to begin with")
    options = parser.parse_args()
    with served() as target:
        for _ in range(20):
            target.check_good()
        before = resident(target.server.popen.pid)
        end, number = time.monotonic() + options.seconds, options.first
        while time.monotonic() < end:
            fuzz_round(target, number)
            number += 1
            if number % 100 == 0:
                target.check_good()
        target.check_good()
        at_once = resident(target.server.popen.pid)
        at_rest = resident_at_rest(target.server.popen.pid, before)
        log = target.server.log.read_text()
    print(f"{number - options.first} requests:")
    for answer, count in sorted(target.counts.items()):
        print(f"  {answer}: {count}")
    print(f"slowest: {target.slowest:.2f} s")
    print(f"memory: {before:.0f} MiB, {at_once:.0f} at once, {at_rest:.0f} after a rest")
    print(f"tracebacks in the server's log: {log.count('Traceback')}")


if __name__ == "__main__":
    main()
