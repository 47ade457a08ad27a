"""The client's own messages and tensors are TensorFlow's, and its retries keep their promises."""

import importlib
import random

import grpc
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pool
from tensorflow_serving.apis import get_model_status_pb2

from serving.client import messages
from serving.client.errors import ReplyError, RequestError, TransportError
from serving.client.retries import Attempts, Deadline, RetryPolicy
from serving.client.tensors import as_array, from_proto, to_proto
from serving.status_codes import Code

DTYPES = (
    *(np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.bool_, np.complex64),
    *(np.complex128, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32),
    np.uint64,
)


@pytest.mark.parametrize("name", messages.MESSAGES)
def test_fields_are_those_of_the_official_messages(name):
    for module in ("predict", "get_model_metadata", "get_model_status"):
        importlib.import_module(f"tensorflow_serving.apis.{module}_pb2")
    official = descriptor_pool.Default().FindMessageTypeByName(name)
    for field, (number, kind) in messages.MESSAGES[name].items():
        expected = official.fields_by_name[field]
        assert number == expected.number, field
        assert kind == kind_of(expected), field


def kind_of(field):
    """A field's type as messages.MESSAGES writes it."""
    scalar = field.cpp_type != field.CPPTYPE_MESSAGE
    if not scalar and field.message_type.GetOptions().map_entry:
        return f"{{{kind_of(field.message_type.fields_by_name['value'])}}}"
    types = {
        getattr(field, f"TYPE_{name.upper()}"): name
        for name in ("bool", "bytes", "double", "float", "int32", "int64", "string", "uint32")
    } | {field.TYPE_UINT64: "uint64", field.TYPE_ENUM: "int32"}
    kind = types[field.type] if scalar else field.message_type.full_name
    return f"[{kind}]" if field.is_repeated else kind


def test_numbers_of_states_and_statuses_are_the_official_ones():
    states = get_model_status_pb2.ModelVersionStatus.State
    assert {number: name for name, number in states.items()} == messages.STATES
    assert {code.name: code.value[0] for code in grpc.StatusCode} == {
        code.name: code for code in Code
    }


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_are_the_tensors_that_tensorflow_makes_and_reads(dtype):
    array = np.array([[0, 1, 2], [3, 5, 100]]).astype(dtype)
    sent = tf.make_ndarray(official(to_proto(as_array(array, "x"))))
    np.testing.assert_array_equal(sent, array)
    assert sent.dtype == array.dtype
    as_bytes = from_proto(ours(tf.make_tensor_proto(array)), "x")
    as_bytes[0] = 0  # writable, and no view of the message
    as_values = from_proto(ours(values_proto(array)), "x")
    np.testing.assert_array_equal(as_values, array)
    assert as_bytes.dtype == as_values.dtype == array.dtype


def official(proto):
    return tf.make_tensor_proto(0).FromString(proto.SerializeToString())


def ours(proto):
    return messages.TensorProto.FromString(proto.SerializeToString())


def values_proto(array):
    """The message with the values in the field of their type, not as bytes."""
    proto = tf.make_tensor_proto(array.ravel()[0], shape=array.shape)
    assert not proto.tensor_content
    filled = tf.make_tensor_proto(array.ravel()[0])
    filled.CopyFrom(proto)
    for item in array.ravel()[1:]:
        filled.MergeFrom(tf.make_tensor_proto(item))
    filled.tensor_shape.CopyFrom(proto.tensor_shape)
    return filled


def test_the_last_value_stands_for_those_that_are_missing():
    proto = ours(tf.make_tensor_proto(2.5, shape=(2, 3)))
    assert len(proto.float_val) == 1
    np.testing.assert_array_equal(from_proto(proto, "x"), np.full((2, 3), 2.5, np.float32))
    del proto.float_val[:]
    np.testing.assert_array_equal(from_proto(proto, "x"), np.zeros((2, 3), np.float32))


def test_empty_tensors_and_scalars_keep_their_shapes():
    for array in (np.zeros((0, 3), np.float32), np.float32(4), np.zeros((2, 0), np.int64)):
        found = from_proto(ours(tf.make_tensor_proto(array)), "x")
        np.testing.assert_array_equal(found, array)
        assert found.shape == np.shape(array)
    assert from_proto(to_proto(as_array([], "x")), "x").shape == (0,)


def test_strings_are_bytes_whatever_is_in_them():
    rows = [[b"\xff\x00", "é".encode()], [b"", b"\x00"]]
    for given in (rows, np.array(rows, object)):
        proto = to_proto(as_array(given, "x"))
        assert tf.make_ndarray(official(proto)).tolist() == rows
        assert from_proto(proto, "x").tolist() == rows
    assert as_array(["é"], "x").tolist() == ["é".encode()]


def test_big_endian_and_strided_arrays_are_sent_right():
    array = np.arange(12, dtype=">i4").reshape(3, 4)[:, ::2]
    np.testing.assert_array_equal(tf.make_ndarray(official(to_proto(as_array(array, "x")))), array)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda proto: setattr(proto, "dtype", 99), "has the type 99"),
        (lambda proto: setattr(proto.tensor_shape.dim[0], "size", 5), "cannot be read"),
        (lambda proto: setattr(proto.tensor_shape.dim[0], "size", -1), "negative size"),
        (lambda proto: setattr(proto, "tensor_content", b"123"), "cannot be read"),
        (lambda proto: setattr(proto, "dtype", 7), "cannot be read"),
    ],
)
def test_tensors_that_contradict_themselves_are_errors(change, said):
    proto = ours(tf.make_tensor_proto(np.ones((2, 3), np.float32)))
    change(proto)
    if proto.dtype == 7:
        proto.tensor_content = b""
    with pytest.raises(ReplyError, match=f"output x .*{said}"):
        from_proto(proto, "x")


@pytest.mark.parametrize("value", [np.zeros(2, "M8[s]"), np.zeros(2, "f4,i4"), [None], [{}]])
def test_what_no_tensor_holds_is_refused(value):
    with pytest.raises(ValueError, match=r"^x: "):
        as_array(value, "x")


AWAY = TransportError("UNAVAILABLE", "away", is_retryable=True)


def pauses(policy, error=AWAY, timeout_s=1000.0, seed=0):
    attempts = Attempts(policy, Deadline(timeout_s), random.Random(seed))
    found = []
    while True:
        attempts.begin()
        pause = attempts.pause_after(error)
        if pause is None:
            return found
        found.append(pause)


def test_pauses_are_drawn_evenly_below_a_limit_that_doubles():
    policy = RetryPolicy(attempts=7, first_pause_s=1, max_pause_s=8)
    draws = np.array([pauses(policy, seed=seed) for seed in range(400)])
    limits = [1, 2, 4, 8, 8, 8]
    assert draws.shape == (400, len(limits))
    for column, limit in zip(draws.T, limits, strict=True):
        assert 0 <= column.min() < 0.05 * limit
        assert 0.95 * limit < column.max() <= limit
        assert column.mean() == pytest.approx(limit / 2, rel=0.15)


def test_the_server_may_ask_for_a_longer_pause_but_not_beyond_the_deadline():
    later = TransportError("RESOURCE_EXHAUSTED", "later", is_retryable=True, retry_after_s=30)
    assert pauses(RetryPolicy(attempts=3), later) == [30, 30]
    assert pauses(RetryPolicy(attempts=3), later, timeout_s=20) == []


def test_what_is_not_retryable_and_one_attempt_have_no_pauses():
    assert pauses(RetryPolicy(), TransportError("INVALID_ARGUMENT", "no")) == []
    assert pauses(RetryPolicy(), TransportError("DEADLINE_EXCEEDED", "slow")) == []
    assert pauses(RetryPolicy(attempts=1)) == []


def test_an_attempt_has_what_is_left_of_the_time_or_its_own_limit():
    attempts = Attempts(RetryPolicy(attempt_timeout_s=2), Deadline(10), random.Random(0))
    assert attempts.begin() == 2
    attempts = Attempts(RetryPolicy(attempt_timeout_s=20), Deadline(10), random.Random(0))
    assert 9 < attempts.begin() <= 10
    attempts = Attempts(RetryPolicy(), Deadline(1e-9), random.Random(0))
    with pytest.raises(TransportError, match="no time was left"):
        attempts.begin()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"attempts": 0}, "attempts: expected at least 1"),
        ({"first_pause_s": -1}, "first_pause_s"),
        ({"max_pause_s": float("nan")}, "max_pause_s"),
        ({"attempt_timeout_s": 0}, "attempt_timeout_s"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        RetryPolicy(**arguments)


def test_a_message_of_tensorflow_comes_without_places_in_its_graph():
    text = "Invalid JPEG data.\n\t [[{{function_node switch_1}}{{node switch_case/DecodeJpeg}}]]"
    error = RequestError("INVALID_ARGUMENT", text, "localhost:8500", "levit")
    assert error.message == "Invalid JPEG data."
