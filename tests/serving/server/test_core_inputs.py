"""Tensors of a request that are not what the signature declares are refused before they are run."""

import json

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc import StatusCode
from tensorflow.core.framework import types_pb2
from tensorflow.core.framework.tensor_pb2 import TensorProto

from serving.server.bounds import Bounds
from serving.server.errors import ServingError
from serving.server.metrics import Metrics
from serving.server.models.input_tensors import InputSpec, check_tensor
from serving.server.options import Options
from serving.tensorflow_c.c_tensors import item_bytes
from tests.support.serving.serving_cases import MODEL, refusal, serve, values
from tests.support.serving.serving_rest_cases import call

# Signature -> its inputs, with their shapes where -1 is any size, and a good value of an element.
SIGNATURES = {
    "serving_default": ({"x": (-1,)}, 1.0),
    "pair": ({"a": (-1, 2), "b": (-1, 2)}, 1.0),
    "strings": ({"text": (-1,)}, "a"),
    "ragged": ({"x": (-1, -1)}, 1.0),
    "numbers": ({"numbers": (-1,)}, "1"),
    "classify": ({"inputs": (-1,)}, ""),
}
SHAPES = [(2,) * rank for rank in range(7)] + [(), (0,), (1, 0), (0, 2), (1, 1), (1, 3), (3, 1)]


@pytest.fixture(scope="module")
def target():
    with serve() as target:
        yield target


def text(shape):
    names = [str(size) if size >= 0 else "any" if n else "batch" for n, size in enumerate(shape)]
    return f"({', '.join(names)}{',' * (len(names) == 1)})"


def fits(shape, declared):
    return len(shape) == len(declared) and all(
        d in (-1, s) for s, d in zip(shape, declared, strict=True)
    )


@pytest.mark.parametrize("name", SIGNATURES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_signature_refuses_other_ranks_and_sizes(target, name, shape):
    inputs, element = SIGNATURES[name]
    strings = isinstance(element, str)
    value = np.full(shape, element.encode() if strings else element, object if strings else "f")
    listed = np.full(shape, element, object).tolist()
    found = {}
    try:
        target.predict({alias: tf.make_tensor_proto(value, shape=shape) for alias in inputs}, name)
    except grpc.RpcError as error:
        found["gRPC"] = shape, (error.code() == StatusCode.INVALID_ARGUMENT, error.details())
    else:
        found["gRPC"] = shape, None
    status, reply = post(target, name, dict.fromkeys(inputs, listed))
    # JSON does not tell the sizes that are within nothing.
    found["REST"] = np.shape(listed), None if status == 200 else (status == 400, reply["error"])
    dtype, (alias, declared) = "string" if strings else "float", min(inputs.items())
    for sent, answer in found.values():
        message = (
            f"input tensor {alias}: expected {dtype} {text(declared)}, got {dtype} {text(sent)}"
        )
        assert answer == (None if fits(sent, declared) else (True, message))


def test_a_model_of_tensorflow_1_takes_other_shapes_than_its_placeholder_had(tmp_path):
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, (None, 1))
        v1.saved_model.simple_save(session, str(tmp_path / "half" / "1"), {"x": x}, {"y": x / 2})
    with serve(tmp_path / "half") as target:
        assert values(target.predict({"x": tf.make_tensor_proto([2.0, 3.0])})).tolist() == [1, 1.5]
        assert post(target, "serving_default", [2.0, 3.0])[1] == {"outputs": [1.0, 1.5]}
        code, message = refusal(target.predict, {"x": tf.make_tensor_proto([1])})
        assert code == StatusCode.INVALID_ARGUMENT
        assert message == "input tensor x: expected float of any shape, got int32 (1,)"


def post(target, signature, inputs):
    port = int(target.rest.rpartition(":")[2])
    document = {"signature_name": signature, "inputs": inputs}
    status, _, reply = call(port, "POST", f"/v1/models/{MODEL}:predict", document)
    return status, json.loads(reply)


@pytest.mark.parametrize("dtype", [*range(40), *range(98, 140), 2**31 - 1])
def test_every_other_dtype_is_refused(target, dtype):
    tensor = TensorProto(dtype=dtype, tensor_content=bytes(4))
    tensor.tensor_shape.dim.add(size=1)
    if dtype == types_pb2.DT_FLOAT:
        assert values(target.predict({"x": tensor})) == [2]
        return
    code, message = refusal(target.predict, {"x": tensor})
    assert code == StatusCode.INVALID_ARGUMENT
    assert message.startswith("input tensor x: expected float (batch,), got ")


def test_a_rank_that_is_unknown_and_sizes_below_0_are_refused(target):
    tensor = tf.make_tensor_proto(np.float32([1]))
    tensor.tensor_shape.unknown_rank = True
    code, message = refusal(target.predict, {"x": tensor})
    assert (code, "x has an unknown rank" in message) == (StatusCode.INVALID_ARGUMENT, True)
    tensor.tensor_shape.unknown_rank = False
    tensor.tensor_shape.dim[0].size = -1
    code, message = refusal(target.predict, {"x": tensor})
    assert (code, "x has the shape [-1]" in message) == (StatusCode.INVALID_ARGUMENT, True)


@pytest.mark.parametrize(
    ("declared", "given"), [(100_000, [b""]), (2000, [b"x" * 2**20]), (1, []), (1, [b"a", b"b"])]
)
def test_each_string_must_be_given(target, declared, given):
    tensor = TensorProto(dtype=types_pb2.DT_STRING, string_val=given)
    tensor.tensor_shape.dim.add(size=declared)
    assert refusal(target.predict, {"text": tensor}, "strings") == (
        StatusCode.INVALID_ARGUMENT,
        f"input tensor text has the shape ({declared},) and {len(given)} strings; each must be "
        f"given.",
    )


def test_strings_may_come_as_content(target):
    tensor = TensorProto(dtype=types_pb2.DT_STRING, tensor_content=b"\x01\x02abb")
    tensor.tensor_shape.dim.add(size=2)
    found = values(target.predict({"text": tensor}, "strings"), "twice_bytes")
    assert found.tolist() == [b"aa", b"bbbb"]
    tensor.tensor_shape.dim[0].size = 2**30
    code, message = refusal(target.predict, {"text": tensor}, "strings")
    assert (code, "and 0 strings; each must" in message) == (StatusCode.INVALID_ARGUMENT, True)


def test_a_repeated_number_may_stand_for_as_many_bytes_as_a_request_has(target):
    tensor = TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[2])
    tensor.tensor_shape.dim.add(size=1000)
    assert values(target.predict({"x": tensor})).tolist() == [3] * 1000
    tensor.tensor_shape.dim[0].size = 2**24 + 1
    code, message = refusal(target.predict, {"x": tensor})
    assert code == StatusCode.INVALID_ARGUMENT
    assert "x of the shape (16777217,) is larger than the server's limit of 67108864" in message


@pytest.mark.parametrize("shape", [(2**32, 0), (0, 2**24 + 1), (2**62, 0)], ids=str)
def test_an_empty_tensor_has_no_size_that_is_too_large_for_another(target, shape):
    """The sums of its rows are not empty, and would keep the server busy for minutes."""
    code, message = refusal(target.predict, {"x": without_numbers(shape)}, "ragged", timeout=5)
    assert code == StatusCode.INVALID_ARGUMENT
    assert message == (
        f"input tensor x of the shape {shape} is larger than the server's limit of 67108864 bytes."
    )
    answer = target.predict({"x": without_numbers((1000, 0))}, "ragged")
    assert values(answer, "total").tolist() == [0] * 1000


def without_numbers(shape):
    tensor = TensorProto(dtype=types_pb2.DT_FLOAT)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


def test_references_and_handles_have_no_elements_of_plain_bytes():
    numbers = [n for n in range(300) if item_bytes(n)]
    assert {1, 2, 3, 4, 6, 9, 10, 14, 19, 22, 23} <= set(numbers)
    assert not set(numbers) & {0, 7, 20, 21, *range(100, 300)}


@pytest.mark.parametrize("dtype", range(100, 140))
def test_the_session_refuses_references_itself(dtype):
    """TensorFlow ends the process where it is asked for such a tensor."""
    from serving.tensorflow_c.c_api import SavedModelSession, TensorFlowError
    from tests.support.serving.serving_cases import VERSION, shared_model

    tensor = TensorProto(dtype=dtype, tensor_content=bytes(4))
    tensor.tensor_shape.dim.add(size=1)
    with SavedModelSession(shared_model() / str(VERSION)) as session:
        feed = session.signature_defs["serving_default"].inputs["x"].name
        with pytest.raises(TensorFlowError) as caught:
            session.run({feed: tensor}, [])
    assert caught.value.code == StatusCode.INVALID_ARGUMENT.value[0]


def test_what_declares_no_shape_takes_any():
    spec = InputSpec(types_pb2.DT_FLOAT, None)
    assert all(spec.fits(shape) for shape in SHAPES)


def test_a_tensor_may_declare_more_bytes_than_there_are_digits_for():
    bounds = Bounds(Options(), Metrics())
    with pytest.raises(ServingError, match=r"x of the shape .* is larger than the server's limit"):
        check_tensor(
            "x", without_numbers((2**62,) * 300), InputSpec(types_pb2.DT_FLOAT, None), bounds
        )
