"""gRPC, Predict: what a client of TensorFlow Serving relies on, asked by the official stubs.

Each row of the protocol is a statement here. The tests ask the server that TFS_TARGET names, if it
is set, and the stand-in otherwise.
"""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc import StatusCode
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import (
    predict_pb2,
)

from tests.support.serving import serving_cases
from tests.support.serving.serving_cases import MODEL, VERSION, predict_request, values
from tests.support.serving.serving_models import SLEEP_SECONDS

X = {"x": np.float32([2, 4])}
NUMBERS = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
)


@pytest.fixture(scope="module")
def target():
    return serving_cases.shared_target()


def refusal(call, *arguments):
    """Code and message of the error that a call ends in."""
    return serving_cases.refusal(call, *arguments, timeout=20)


def test_predict_answers_and_echoes_name_signature_and_version(target):
    response = target.predict(X)
    np.testing.assert_array_equal(values(response), [3, 4])
    spec = response.model_spec
    assert (spec.name, spec.signature_name) == (MODEL, "serving_default")
    assert spec.version.value == VERSION


def test_numbers_are_answered_in_the_field_of_their_dtype(target):
    tensor = target.predict(X).outputs["y"]
    assert list(tensor.float_val) == [3, 4]
    assert tensor.tensor_content == b""


def test_predict_runs_the_signature_that_is_named(target):
    a, b = np.float32([[1, 2]]), np.float32([[3, 4]])
    response = target.predict({"a": a, "b": b}, "pair")
    np.testing.assert_array_equal(values(response, "sum"), a + b)
    np.testing.assert_array_equal(values(response, "product"), a * b)
    assert response.model_spec.signature_name == "pair"


def test_an_exact_version_can_be_asked_for(target):
    assert target.predict(X, version=VERSION).model_spec.version.value == VERSION


def test_strings_are_bytes_of_any_kind_and_size(target):
    sent = [b"", b"\x00\xff", bytes(range(256)) * 4000]
    response = target.predict({"text": np.array(sent, object)}, "strings")
    assert values(response, "twice_bytes").tolist() == [text * 2 for text in sent]
    assert values(response, "length").tolist() == [len(text) for text in sent]


@pytest.mark.parametrize("count", [0, 1, 3, 1000])
def test_all_dtypes_go_in_and_come_out(target, count):
    numbers = np.random.default_rng(count).integers(0, 120, count)
    sent = {name: numbers.astype(tf.dtypes.as_dtype(name).as_numpy_dtype) for name in NUMBERS}
    sent["string"] = np.array([str(number).encode() for number in numbers], object)
    response = target.predict(
        {
            name: tf.make_tensor_proto(array, shape=array.shape, dtype=tf.dtypes.as_dtype(name))
            for name, array in sent.items()
        },
        "echo",
    )
    for name, array in sent.items():
        found = values(response, f"{name}_out")
        assert found.shape == array.shape
        assert found.tolist() == array.tolist()
        assert response.outputs[f"{name}_out"].dtype == tf.dtypes.as_dtype(name)


def test_an_output_filter_chooses_the_outputs(target):
    request = predict_request({"a": np.ones((1, 2), "f"), "b": np.ones((1, 2), "f")}, "pair")
    request.output_filter.append("sum")
    assert set(target.predictions.Predict(request, 20).outputs) == {"sum"}


def test_an_unknown_or_duplicate_output_filter_is_an_invalid_argument(target):
    request = predict_request(X)
    request.output_filter.append("z")
    assert refusal(target.predictions.Predict, request) == (
        StatusCode.INVALID_ARGUMENT,
        "output tensor alias not found in signature: z Outputs expected to be in the set {y}.",
    )
    request.output_filter[:] = ["y", "y"]
    assert refusal(target.predictions.Predict, request) == (
        StatusCode.INVALID_ARGUMENT,
        "duplicate output tensor alias: y",
    )


def test_an_unknown_signature_is_a_failed_precondition(target):
    assert refusal(target.predictions.Predict, predict_request(X, "none")) == (
        StatusCode.FAILED_PRECONDITION,
        'Serving signature key "none" not found.',
    )


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {},
            "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. "
            "Missing but required: {x}.",
        ),
        (
            X | {"z": np.float32([1])},
            "input size does not match signature: 2!=1 len({x,z}) != len({x}). Sent extra: {z}. "
            "Missing but required: {}.",
        ),
    ],
)
def test_a_wrong_set_of_inputs_is_an_invalid_argument(target, inputs, message):
    assert refusal(target.predictions.Predict, predict_request(inputs)) == (
        StatusCode.INVALID_ARGUMENT,
        message,
    )


@pytest.mark.parametrize(
    "inputs",
    [
        {"z": np.float32([1])},
        {"x": np.int32([1])},
        {"x": np.array([b"a"], object)},
        {"x": TensorProto(dtype=1, tensor_content=b"abc")},
        {"x": TensorProto(dtype=99)},
        {"x": TensorProto()},
    ],
    ids=["name", "dtype", "string", "content", "unknown dtype", "nothing"],
)
def test_wrong_names_dtypes_and_contents_are_invalid_arguments(target, inputs):
    code, message = refusal(target.predictions.Predict, predict_request(inputs))
    assert code == StatusCode.INVALID_ARGUMENT
    assert message


def test_an_unknown_name_in_the_right_number_is_named(target):
    request = predict_request({"z": np.float32([1])})
    code, message = refusal(target.predictions.Predict, request)
    assert code == StatusCode.INVALID_ARGUMENT
    assert "z" in message


def test_shapes_that_do_not_go_together_are_an_invalid_argument(target):
    wrong = {"a": np.ones((2, 2), "f"), "b": np.ones((3, 2), "f")}
    code, message = refusal(target.predictions.Predict, predict_request(wrong, "pair"))
    assert code == StatusCode.INVALID_ARGUMENT
    assert "ncompatible shapes" in message


def test_a_size_that_the_signature_does_not_declare_is_an_invalid_argument(target):
    wrong = {"a": np.ones((1, 2), "f"), "b": np.ones((1, 3), "f")}
    code, message = refusal(target.predictions.Predict, predict_request(wrong, "pair"))
    assert code == StatusCode.INVALID_ARGUMENT
    assert message


# Limits


def test_a_deadline_ends_a_computation(target):
    with pytest.raises(grpc.RpcError) as caught:
        target.predict(X, "sleep", timeout=SLEEP_SECONDS / 3)
    assert caught.value.code() == StatusCode.DEADLINE_EXCEEDED
    np.testing.assert_array_equal(values(target.predict(X, "sleep")), [3, 4])


@pytest.mark.parametrize("deadline", [None, 1e6])
def test_a_deadline_may_be_far_away_or_none(target, deadline):
    np.testing.assert_array_equal(values(target.predict(X, timeout=deadline)), [3, 4])


def test_garbage_is_no_request(target):
    call = target.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    assert refusal(call, b"\xff\xff\xff")[0] in (StatusCode.INTERNAL, StatusCode.INVALID_ARGUMENT)
    np.testing.assert_array_equal(values(target.predict(X)), [3, 4])


def test_an_unknown_method_is_unimplemented(target):
    call = target.channel.unary_unary("/tensorflow.serving.PredictionService/None")
    assert refusal(call, b"")[0] == StatusCode.UNIMPLEMENTED


def test_answers_can_be_larger_than_grpc_allows_by_default(target):
    sent = np.arange(2**21, dtype=np.float32)  # 8 MiB; gRPC's own limit is 4
    assert values(target.predict({"x": sent})).shape == sent.shape


def test_requests_are_read_by_the_schema(target):
    request = predict_pb2.PredictRequest.FromString(predict_request(X).SerializeToString())
    assert list(target.predictions.Predict(request, 20).outputs["y"].float_val) == [3, 4]
