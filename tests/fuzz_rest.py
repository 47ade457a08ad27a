"""Feeds the REST API bodies that are JSON, almost JSON, or nothing like it.

    python -m tests.fuzz_rest --seconds=600

Whatever a body holds, the answer is JSON, or an error that the client can be blamed for: never an
exception that nobody expected. The quick tests run a few of the same cases.
"""

from __future__ import annotations

import argparse
import json
import logging
import time

import grpc
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis.model_pb2 import ModelSpec

from serving.server.errors import ServingError
from serving.server.json_bodies import arrays
from serving.server.rest.rest_calls import answer
from serving.server.rest.rest_urls import Target
from tests.support.serving.serving_rest_cases import JSON_DTYPES, FakeBackend

# Of these a malformed body may not be the cause. UNIMPLEMENTED is a dtype without a form in JSON.
CLIENT_ERRORS = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED}
_BACKEND = FakeBackend()
SIGNATURES = sorted(set(_BACKEND.signatures) - {"fail", "defect", "wait"})  # not about the body

_NUMBERS = st.one_of(
    st.integers().map(str),
    st.integers(-(2**66), 2**66).map(str),
    st.floats().map(json.dumps),
    st.sampled_from(["NaN", "Infinity", "-Infinity", "-0", "1.0", "9" * 400, "9" * 5000]),
    st.sampled_from(["1e400", "-1E+400", "1e-400", "01", "1.", ".5", "+1", "1e", "0x1", "Inf"]),
)
_STRINGS = st.one_of(
    st.text().map(json.dumps),
    st.text(max_size=8).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.sampled_from(
        ['"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\u0000"', '"\\x"', '"\t"', '"']
    ),
)
_BASE64 = st.one_of(
    st.binary(max_size=12).map(lambda data: data.hex()),
    st.text("ABCDwxyz0189+/=-_ .\n", max_size=12),
).map(lambda text: json.dumps({"b64": text}))
_KEYS = st.one_of(
    st.sampled_from(["x", "a", "b", "s_bytes", "image_bytes", "b64", "inputs", ""]).map(json.dumps),
    _STRINGS,
)


def _array(elements: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(elements, max_size=6).map(lambda texts: f"[{','.join(texts)}]")


def _object(elements: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.tuples(_KEYS, elements).map(": ".join)  # keys may come twice
    return st.lists(members, max_size=4).map(lambda texts: f"{{{', '.join(texts)}}}")


VALUES = st.recursive(
    st.one_of(_NUMBERS, _STRINGS, _BASE64, st.sampled_from(["true", "false", "null"])),
    lambda elements: st.one_of(_array(elements), _object(elements)),
    max_leaves=20,
)
# Of each kind of dtype, what may stand in a request.
_FITTING = {
    types_pb2.DT_BOOL: ["true", "false"],
    types_pb2.DT_STRING: ['"s"', '{"b64": "aGk="}', '"\\u00e9"'],
    types_pb2.DT_FLOAT: ["1", "2.5", "-1e3", "NaN", "Infinity"],
}
_SHAPES = st.lists(st.integers(0, 3), max_size=4)


def _fitting(dtype: int) -> list[str]:
    if dtype == types_pb2.DT_DOUBLE or dtype not in JSON_DTYPES:
        dtype = types_pb2.DT_FLOAT
    return _FITTING.get(dtype, ["1", "0", "127"])


def _tensor(value: str, shape: list[int]) -> str:
    for size in shape:
        value = f"[{','.join([value] * size)}]"
    return value


@st.composite
def fitting_requests(draw) -> str:
    """Requests that are right, but for the shapes perhaps."""
    name = draw(st.sampled_from(SIGNATURES))
    shape = draw(_SHAPES)
    inputs = _BACKEND.signature(ModelSpec(name="m", signature_name=name))[1].inputs
    values = {
        key: _tensor(draw(st.sampled_from(_fitting(info.dtype))), shape)
        for key, info in inputs.items()
    }
    row = "{" + ", ".join(f'"{key}": {value}' for key, value in values.items()) + "}"
    if len(values) == 1 and draw(st.booleans()):
        (row,) = values.values()
    example = '{"f": [1.5, 2], "i": 3, "s": ["a", {"b64": "aGk="}]}'
    content = draw(
        st.sampled_from(
            [
                f'"inputs": {row}',
                f'"instances": [{", ".join([row] * draw(st.integers(1, 3)))}]',
                f'"examples": [{example}], "context": {{"c": 0.5}}',
            ]
        )
    )
    return f'{{"signature_name": "{name}", {content}}}'


@st.composite
def odd_requests(draw) -> str:
    """Requests of JSON values where they do not belong."""
    members = [f'"signature_name": "{draw(st.sampled_from(SIGNATURES))}"']
    keys = st.sampled_from(["instances", "inputs", "examples", "context", "signature_name", "x"])
    for key in draw(st.lists(keys, min_size=1, max_size=3)):
        text = draw(VALUES)
        members.append(f'"{key}": {f"[{text}]" if draw(st.booleans()) else text}')
    return "{" + ", ".join(members) + "}"


@st.composite
def damaged(draw, texts: st.SearchStrategy[str]) -> bytes:
    """Bodies with a few bytes changed."""
    body = bytearray(draw(texts).encode("utf-8", "surrogatepass"))
    for position, change in draw(
        st.lists(
            st.tuples(st.integers(0, len(body)), st.binary(max_size=3)), min_size=1, max_size=2
        )
    ):
        body[position : position + draw(st.integers(0, 3))] = change
    return bytes(body)


@st.composite
def nested(draw) -> bytes:
    """Brackets many thousand deep, some closed."""
    depth = draw(st.integers(1, 20_000))
    opening = draw(st.sampled_from(["[", '{"x":', "[["]))
    inside = opening * depth + draw(st.sampled_from(["", "1"])) + "]" * draw(st.integers(0, depth))
    key = draw(st.sampled_from(["instances", "inputs", "examples", "signature_name", "extra"]))
    return f'{{"{key}": {inside}, "instances": [1]}}'.encode()


_ENCODED = st.one_of(fitting_requests(), odd_requests()).map(
    lambda text: text.encode("utf-8", "surrogatepass")
)
BODIES = st.one_of(
    _ENCODED, damaged(fitting_requests()), damaged(odd_requests()), st.binary(max_size=40), nested()
)
VERBS = st.sampled_from(["predict", "predict", "predict", "classify", "regress"])


def check(backend: FakeBackend, verb: str, body: bytes) -> str:
    """Sends one body; raises unless the answer is one that it may have. Returns its kind."""
    kind, text = _answer(backend, verb, body)
    shortest = arrays._SHORTEST_BODY, arrays._SHORTEST_ARRAY
    arrays._SHORTEST_BODY = arrays._SHORTEST_ARRAY = 0
    try:  # what large documents go through
        other, other_text = _answer(backend, verb, body)
    finally:
        arrays._SHORTEST_BODY, arrays._SHORTEST_ARRAY = shortest
    # An array that is not used is not looked into there, and nesting may be less deep.
    allowed = text.startswith("JSON Parse error") or "nested too deeply" in other_text
    if kind != other and not allowed:
        raise AssertionError(f"{kind} {text!r}, but as a large document {other} {other_text!r}")
    if kind == other == "OK" and text != other_text:
        raise AssertionError(f"{text!r}, but as a large document {other_text!r}")
    return kind


def _answer(backend: FakeBackend, verb: str, body: bytes) -> tuple[str, str]:
    """OK and the reply, or the code and the message of the error."""
    try:
        reply = answer(backend, Target(verb, ModelSpec(name="m")), body)
    except ServingError as error:
        if error.code not in CLIENT_ERRORS:
            raise
        refusal = error
    else:
        text = reply.decode("utf-8", "surrogateescape")
        json.loads(text)
        return "OK", text
    refusal.message.encode()  # which a lone surrogate would break
    assert len(refusal.message) < 2000, "the message repeats the request"
    return refusal.code.name, refusal.message


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long to go on")
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    backend = FakeBackend()
    counts: dict[str, int] = {}
    slowest = 0.0
    start = time.monotonic()
    number = arguments.seed

    def one(verb: str, body: bytes) -> None:
        nonlocal slowest
        begin = time.thread_time()
        kind = check(backend, verb, body)
        slowest = max(slowest, time.thread_time() - begin)
        counts[kind] = counts.get(kind, 0) + 1
        backend.requests.clear()

    while time.monotonic() - start < arguments.seconds:
        options = settings(
            max_examples=2000,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        seed(number)(options(given(VERBS, BODIES)(one)))()
        number += 1
    total = sum(counts.values())
    print(f"{total} requests in {time.monotonic() - start:.0f} s, rounds to seed {number - 1}:")
    for kind, count in sorted(counts.items()):
        print(f"  {kind}: {count}")
    print(f"slowest: {slowest * 1000:.0f} ms of processor time")


if __name__ == "__main__":
    main()
