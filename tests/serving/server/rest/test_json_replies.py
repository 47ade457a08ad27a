"""Replies hold what TensorFlow Serving writes, as JSON."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.classification_pb2 import ClassificationResult
from tensorflow_serving.apis.regression_pb2 import RegressionResult

from serving.server.errors import ServingError
from serving.server.json_bodies import replies
from serving.server.json_bodies.replies import (
    classification_reply,
    error_reply,
    prediction_reply,
    regression_reply,
)


def column_reply(**arrays):
    return prediction_reply(arrays, by_row=False)


def row_reply(**arrays):
    return prediction_reply(arrays, by_row=True)


def numbers(values, dtype):
    """The texts of numbers in a reply."""
    reply = column_reply(x=np.array(values, dtype)).decode()
    return reply[reply.index("[") + 1 : reply.index("]")].split(", ")


def test_floats_have_six_digits_where_they_suffice_and_always_look_like_floats():
    assert numbers([0.2, 9e6, 3e-5, 1, -3, 123456, 1234567, 0.123456789], np.float32) == [
        "0.2", "9000000.0", "3e-05", "1.0", "-3.0", "123456.0", "1234567.0", "0.123456791",
    ]  # fmt: skip
    assert numbers([0.1, 1 / 3, 1e300, 0.0, -0.0], np.float64) == [
        "0.1", "0.3333333333333333", "1e+300", "0.0", "-0.0",
    ]  # fmt: skip


def test_floats_read_back_the_same():
    bits = np.random.default_rng(0).integers(0, 2**32, 20_000, np.uint32)
    values = bits.view(np.float32)
    values = values[np.isfinite(values)]
    read = np.array(numbers(values, np.float32), np.float64).astype(np.float32)
    np.testing.assert_array_equal(read, values)
    doubles = np.random.default_rng(1).normal(size=2000) ** 9
    np.testing.assert_array_equal(np.array(numbers(doubles, np.float64), np.float64), doubles)


def test_special_floats_are_written():
    assert numbers([np.nan, np.inf, -np.inf], np.float32) == ["NaN", "Infinity", "-Infinity"]


def test_integers_booleans_and_strings():
    assert numbers([-128, 127], np.int8) == ["-128", "127"]
    assert numbers([2**64 - 1], np.uint64) == [str(2**64 - 1)]
    assert numbers([True, False], np.bool_) == ["true", "false"]
    strings = np.array(['a"\\\n\x01é'.encode(), b"\xff"], object)
    assert column_reply(x=strings) == b'{"outputs": ["a\\"\\\\\\n\\u0001\xc3\xa9", "\xff"]}'
    assert json.loads(column_reply(x_bytes=strings))["outputs"] == [
        {"b64": "YSJcCgHDqQ=="},
        {"b64": "/w=="},
    ]
    assert json.loads(column_reply(x_bytes=np.array([1.5]))) == {"outputs": [1.5]}


@pytest.mark.parametrize(
    "shape", [(2,), (2, 3), (2, 1, 3), (0,), (0, 3), (2, 0), (2, 0, 3), (2, 3, 0)]
)
def test_shapes_become_nesting(shape):
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    assert json.loads(row_reply(x=array)) == {"predictions": array.tolist()}
    assert json.loads(column_reply(x=array)) == {"outputs": array.tolist()}
    both = {"x": array, "y": array}
    assert json.loads(column_reply(**both)) == {
        "outputs": {"x": array.tolist(), "y": array.tolist()}
    }
    rows = [{"x": row, "y": row} for row in array.tolist()]
    assert json.loads(row_reply(**both)) == {"predictions": rows}


@pytest.mark.parametrize("shape", [(1,), (9,), (100, 1), (1, 100), (1, 1, 20), (3, 5, 2), (9, 0)])
def test_large_arrays_are_written_in_pieces(shape, monkeypatch):
    array = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    whole = column_reply(x=array), row_reply(x=array, y=array)
    monkeypatch.setattr(replies, "_PIECE", 4)
    assert (column_reply(x=array), row_reply(x=array, y=array)) == whole
    assert json.loads(whole[0]) == {"outputs": array.tolist()}


def test_scalars_are_columns_but_not_rows():
    assert json.loads(column_reply(x=np.array(2, np.float32))) == {"outputs": 2.0}
    with pytest.raises(ServingError, match=r"not one batch size.*x \(\)"):
        row_reply(x=np.array(2, np.float32))


def test_rows_need_one_batch_size():
    with pytest.raises(ServingError, match=r"not one batch size.*x \(2,\), y \(1,\)"):
        row_reply(x=np.zeros(2), y=np.zeros(1))


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (np.float16, "float16"),
        (tf.bfloat16.as_numpy_dtype, "bfloat16"),
        (np.complex64, "complex64"),
    ],
)
def test_dtypes_without_json_are_refused(dtype, name):
    with pytest.raises(ServingError, match=f"Output x is {name}"):
        column_reply(x=np.zeros(1, dtype))


def test_nothing_to_reply_is_an_error():
    for reply, arguments in (
        (prediction_reply, ({}, True)),
        (prediction_reply, ({}, False)),
        (classification_reply, [ClassificationResult()]),
        (regression_reply, [RegressionResult()]),
    ):
        with pytest.raises(ServingError, match="as JSON"):
            reply(*arguments)


def test_classifications_are_pairs():
    result = ClassificationResult()
    classes = result.classifications.add().classes
    classes.add(label='a"', score=0.2)
    classes.add(score=12)
    result.classifications.add()
    assert json.loads(classification_reply(result)) == {"results": [[['a"', 0.2], ["", 12.0]], []]}


def test_regressions_are_numbers():
    result = RegressionResult()
    for value in (0.2, np.inf, 1):
        result.regressions.add(value=value)
    assert regression_reply(result) == b'{"results": [0.2, Infinity, 1.0]}'


def test_errors_are_quoted():
    assert json.loads(error_reply('Bad key: "k"\n')) == {"error": 'Bad key: "k"\n'}
