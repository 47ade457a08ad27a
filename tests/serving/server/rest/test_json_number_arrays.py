"""Long arrays of numbers are read as short ones are, whatever is wrong with them."""

import json
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from serving.server import json_number_arrays
from serving.server.errors import ServingError
from serving.server.json_documents import expanded, parse_object
from serving.server.json_examples import input_from_json
from serving.server.json_number_arrays import NumberArray
from serving.server.json_tensors import tensors_from_columns, tensors_from_rows

F, D, I32 = types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE, types_pb2.DT_INT32
FILLER = '"filler": "' + "x" * 70_000 + '"'  # makes a document long enough to be searched


def document(**members):
    text = ", ".join(f'"{key}": {value}' for key, value in members.items())
    return parse_object(f"{{{FILLER}, {text}}}".encode())


def tensors(convert, value, **dtypes):
    inputs = {name: TensorInfo(dtype=dtype) for name, dtype in dtypes.items()}
    return {name: tf.make_ndarray(t) for name, t in convert(value, inputs).items()}


def numbers(shape, dtype=np.float64, seed=0):
    return (np.random.default_rng(seed).normal(size=shape) * 1000).astype(dtype)


@pytest.mark.parametrize("shape", [(3000,), (3000, 1), (1, 3000), (10, 20, 15), (2, 1, 1, 1500)])
@pytest.mark.parametrize("separators", [(",", ":"), (" ,\n", ":")])
def test_values_and_shapes(shape, separators):
    array = numbers(shape)
    found = document(x=json.dumps(array.tolist(), separators=separators))["x"]
    assert isinstance(found, NumberArray)
    for convert in tensors_from_rows, tensors_from_columns:
        np.testing.assert_array_equal(tensors(convert, found, x=D)["x"], array)
        single = tensors(convert, found, x=F)["x"]
        np.testing.assert_array_equal(single, array.astype(np.float32))
    assert expanded(found) == array.tolist()


def test_pieces_join(monkeypatch):
    monkeypatch.setattr(json_number_arrays, "_PIECE_BYTES", 100)
    array = numbers((50, 40), np.int32)
    found = document(x=json.dumps(array.tolist()))["x"]
    np.testing.assert_array_equal(tensors(tensors_from_columns, found, x=I32)["x"], array)


def test_rows_of_named_arrays_are_stacked():
    first, second = numbers((2, 30, 30), np.float32, 1), numbers((2, 1000), np.int32, 2)
    rows = [{"a": a.tolist(), "b": b.tolist()} for a, b in zip(first, second, strict=True)]
    instances = document(instances=json.dumps(rows))["instances"]
    assert isinstance(instances[1]["b"], NumberArray)
    result = tensors(tensors_from_rows, instances, a=F, b=I32)
    np.testing.assert_array_equal(result["a"], first)
    np.testing.assert_array_equal(result["b"], second)


def test_special_floats_are_numbers():
    text = "[" + "NaN, Infinity, -Infinity, 1, " * 100 + "2.5]"
    array = tensors(tensors_from_columns, document(x=text)["x"], x=F)["x"]
    np.testing.assert_array_equal(array[:4], np.float32([np.nan, np.inf, -np.inf, 1]))
    assert array[-1] == 2.5


def test_brackets_in_strings_are_no_arrays():
    inside = "[" + "1, " * 1000 + "1]"
    found = document(a=json.dumps(inside), b=json.dumps(f'\\"{inside}'), c=f"[[{inside}], []]")
    assert found["a"] == inside
    assert found["b"] == f'\\"{inside}'
    assert expanded(found["c"]) == [[[1] * 1001], []]


MANY = "1, " * 1000


@pytest.mark.parametrize(
    "text",
    [
        f"[{MANY}1.5]",
        f"[{MANY}2147483648]",
        f"[{MANY}[1]]",
        f"[[{MANY}1], [1]]",
        f"[[{MANY}1], 1]",
        f"[{MANY}[]]",
        f"[[1], {MANY}1]",
        f"[{MANY}, 1]",
        f"[{MANY}]",
        f"[{MANY}1 2]",
        f"[{MANY}1[2]]",
        f"[[{MANY}1][1]]",
        f"[{MANY}01]",
        f"[{MANY}1.]",
        f"[{MANY}.5]",
        f"[{MANY}+1]",
        f"[{MANY}1e]",
        f"[{MANY}-]",
        f"[{MANY}nan]",
        f"[{MANY}Inf]",
        f"[{MANY}1e400]",
        f"[{MANY}{'9' * 5000}]",
        f"[{'[],' * 1000}[1]]",
        f"[{'[' * 900}1{']' * 900}]",
        f"[{MANY}1",
        f"[{MANY}1]]",
    ],
    ids=range(26),
)
def test_what_is_wrong_is_said_as_for_short_documents(text, monkeypatch):
    def message(convert, dtype):
        with pytest.raises(ServingError) as caught:
            tensors(convert, parse_object(f'{{"x": {text}}}'.encode())["x"], x=dtype)
        return caught.value.message

    for convert in tensors_from_rows, tensors_from_columns:
        short = message(convert, I32)
        with monkeypatch.context() as patch:
            patch.setattr(json_number_arrays, "_SHORTEST_DOCUMENT", 0)
            found = message(convert, I32)
        # Where a message quotes the whole array, only its blanks may differ.
        assert found.split("JSON Value: [")[0] == short.split("JSON Value: [")[0]


def test_examples_hold_long_arrays_of_numbers():
    array = numbers((3000,), np.float32)
    examples = document(examples=json.dumps([{"x": array.tolist()}]))
    (example,) = input_from_json(expanded(examples)).example_list.examples
    np.testing.assert_array_equal(
        np.array(example.features.feature["x"].float_list.value, np.float32), array
    )


def test_memory_is_a_small_multiple_of_the_body():
    body = b'{"instances": [' + b"1,22,333," * 100_000 + b"1]}"
    tracemalloc.start()
    found = parse_object(body)["instances"]
    assert tensors_from_rows(found, {"x": TensorInfo(dtype=F)})["x"].tensor_shape.dim[0].size == (
        300_001
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * len(body)


@pytest.mark.parametrize("value", ["[]", "{}", '""', "true", "[1,{}]"])
def test_values_other_than_numbers_are_a_million_at_most(value):
    body = ('{"instances": [' + f"{value}," * 1_000_001 + "1]}").encode()
    with pytest.raises(ServingError, match=r"more than 1000000 values|not a regular array"):
        tensors_from_rows(parse_object(body)["instances"], {"x": TensorInfo(dtype=F)})


def test_ragged_arrays_are_refused_though_their_values_would_fill_the_shape():
    rows = [[1] * 1001, [1] * 1000, [1] * 1002]
    found = document(x=json.dumps(rows))["x"]
    assert isinstance(found, NumberArray)
    with pytest.raises(ServingError, match="list at unexpected size: 1000 at level: 1"):
        tensors(tensors_from_columns, found, x=F)


def test_a_missing_value_is_refused_wherever_the_pieces_end(monkeypatch):
    monkeypatch.setattr(json_number_arrays, "_PIECE_BYTES", 1)
    for text in (f"[{MANY} ]", f"[1, , {MANY}1]", f"[ , {MANY}1]"):
        with pytest.raises(ServingError, match=r"JSON Parse error: Invalid value\. at offset: 7"):
            tensors(tensors_from_columns, document(x=text)["x"], x=F)
