"""Long arrays of numbers are read as short ones are, whatever is wrong with them."""

import json
import tracemalloc

import numpy as np
import pytest
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from serving.server.errors import ServingError
from serving.server.json_bodies import arrays
from serving.server.json_bodies.arrays import NumberArray
from serving.server.json_bodies.requests import examples, named_arrays, parse_object

F, D, I32 = types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE, types_pb2.DT_INT32
FILLER = '"filler": "' + "x" * 70_000 + '"'  # makes a document long enough to be searched


def document(**members):
    text = ", ".join(f'"{key}": {value}' for key, value in members.items())
    return parse_object(f"{{{FILLER}, {text}}}".encode())


def read(key, text, **dtypes):
    """The arrays of a long request with `text` as its "instances" or "inputs"."""
    return converted(document(**{key: text}), **dtypes)


def converted(request, **dtypes):
    return named_arrays(request, {name: TensorInfo(dtype=dtype) for name, dtype in dtypes.items()})


KEYS = ("instances", "inputs")


def numbers(shape, dtype=np.float64, seed=0):
    return (np.random.default_rng(seed).normal(size=shape) * 1000).astype(dtype)


@pytest.mark.parametrize("shape", [(3000,), (3000, 1), (1, 3000), (10, 20, 15), (2, 1, 1, 1500)])
@pytest.mark.parametrize("separators", [(",", ":"), (" ,\n", ":")])
def test_values_and_shapes(shape, separators):
    array = numbers(shape)
    text = json.dumps(array.tolist(), separators=separators)
    assert isinstance(document(x=text)["x"], NumberArray)
    for key in KEYS:
        np.testing.assert_array_equal(read(key, text, x=D)["x"], array)
        np.testing.assert_array_equal(read(key, text, x=F)["x"], array.astype(np.float32))


def test_pieces_join(monkeypatch):
    monkeypatch.setattr(arrays, "_PIECE_BYTES", 100)
    array = numbers((50, 40), np.int32)
    np.testing.assert_array_equal(read("inputs", json.dumps(array.tolist()), x=I32)["x"], array)


def test_rows_of_named_arrays_are_stacked():
    first, second = numbers((2, 30, 30), np.float32, 1), numbers((2, 1000), np.int32, 2)
    rows = [{"a": a.tolist(), "b": b.tolist()} for a, b in zip(first, second, strict=True)]
    request = document(instances=json.dumps(rows))
    assert isinstance(request["instances"][1]["b"], NumberArray)
    result = converted(request, a=F, b=I32)
    np.testing.assert_array_equal(result["a"], first)
    np.testing.assert_array_equal(result["b"], second)


def test_rows_of_one_shape_are_stacked_whether_their_texts_are_long_or_short():
    rows = [{"x": [0.123456789] * 500}, {"x": [0] * 500}, {"x": [1.5] * 500}]
    request = document(instances=json.dumps(rows, separators=(",", ":")))
    assert [type(row["x"]) for row in request["instances"]] == [NumberArray, list, NumberArray]
    result = converted(request, x=F)["x"]
    np.testing.assert_array_equal(result, np.float32([row["x"] for row in rows]))
    rows[2]["x"].pop()
    with pytest.raises(ServingError, match=r"x\[2\]: expected the shape \(500,\) of the first"):
        read("instances", json.dumps(rows), x=F)


def test_special_floats_are_numbers():
    text = "[" + "NaN, Infinity, -Infinity, 1, " * 100 + "2.5]"
    array = read("inputs", text, x=F)["x"]
    np.testing.assert_array_equal(array[:4], np.float32([np.nan, np.inf, -np.inf, 1]))
    assert array[-1] == 2.5


def test_brackets_in_strings_are_no_arrays():
    inside = "[" + "1, " * 1000 + "1]"
    found = document(a=json.dumps(inside), b=json.dumps(f'\\"{inside}'), c=f"[[{inside}], []]")
    assert found["a"] == inside
    assert found["b"] == f'\\"{inside}'
    assert found["c"] == [[[1] * 1001], []]  # no tensor, so it is not a `NumberArray`


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
        f"[{MANY}1], [1]",
        f"[{MANY}1], 1",
        f"[{MANY}1][",
        f"[{MANY}1] {{",
    ],
    ids=range(30),
)
def test_what_is_wrong_is_refused_as_in_short_documents(text, monkeypatch):
    for key in KEYS:
        for shortest in (2**20, 0):  # not searched for arrays, or searched
            monkeypatch.setattr(arrays, "_SHORTEST_BODY", shortest)
            with pytest.raises(ServingError) as caught:
                read(key, text, x=I32)
            assert caught.value.code.name == "INVALID_ARGUMENT"
            message = caught.value.message
            assert message.startswith(("x[", "x: ", "JSON Parse error: "))
            assert len(message) < 200


def test_the_place_of_a_wrong_value_is_named():
    for text, message in (
        (f"[{MANY}1.5]", "x[1000]: expected int32, got 1.5"),
        (f"[[{MANY}1], [{MANY}2147483648]]", "x[1][1000]: expected int32, got 2147483648"),
        (f"[{MANY}1, 01]", "JSON Parse error: Expecting ',' delimiter near '1, 1, 1, 1, 1, 1, 01'"),
    ):
        with pytest.raises(ServingError) as caught:
            read("inputs", text, x=I32)
        assert caught.value.message.startswith(message[:60])


def test_the_position_of_an_error_counts_arrays_that_were_cut_out():
    body = f'{{{FILLER}, "x": [{MANY}1], "y": [{MANY}2], "z" 1}}'
    with pytest.raises(ServingError, match=f"at character {body.index(' 1}') + 1}$"):
        parse_object(body.encode())


def test_examples_hold_long_arrays_of_numbers():
    array = numbers((3000,), np.float32)
    request = document(examples=json.dumps([{"x": array.tolist()}]))
    (example,) = examples(request).example_list.examples
    np.testing.assert_array_equal(
        np.array(example.features.feature["x"].float_list.value, np.float32), array
    )
    for content in ([*array.tolist(), 1], [array.tolist()]):
        with pytest.raises(ServingError, match=r'examples\[0\], "x": expected'):
            examples(document(examples=json.dumps([{"x": content}])))


def test_memory_is_a_small_multiple_of_the_body():
    body = b'{"instances": [' + b"1,22,333," * 100_000 + b"1]}"
    tracemalloc.start()
    request = parse_object(body)
    assert converted(request, x=F)["x"].shape == (300_001,)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * len(body)


@pytest.mark.parametrize("value", ["[]", "{}", '""', "true", "[1,{}]"])
def test_values_other_than_numbers_are_a_million_at_most(value):
    body = ('{"instances": [' + f"{value}," * 1_000_001 + "1]}").encode()
    with pytest.raises(ServingError, match="more than 1000000 values"):
        converted(parse_object(body), x=F)


def test_ragged_arrays_are_refused_though_their_values_would_fill_the_shape():
    rows = [[1] * 1001, [1] * 1000, [1] * 1002]
    with pytest.raises(ServingError, match=r"x\[1\]: expected an array of 1001, as the first, got"):
        read("inputs", json.dumps(rows), x=F)


def test_a_missing_value_is_refused_wherever_the_pieces_end(monkeypatch):
    monkeypatch.setattr(arrays, "_PIECE_BYTES", 1)
    for text in (f"[{MANY} ]", f"[1, , {MANY}1]", f"[ , {MANY}1]"):
        with pytest.raises(ServingError, match="JSON Parse error: Expecting value"):
            read("inputs", text, x=F)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": [%s1], "b": "%s' % (b"1," * 2000, b'\\"' * 500_000),
        b'{"inputs": %s%s1%s}' % (b"[" * 500_000, b"1," * 2000, b"]" * 500_000),
        b'{"inputs": [%s%s1%s]}' % (b"1," * 2000, b"[" * 500_000, b"]" * 500_000),
        b'{"inputs": [%s]}' % (b"[[1],[" * 200_000),
    ],
    ids=["string without an end", "deep outside", "deep inside", "never closed"],
)
def test_long_bodies_that_are_damaged_are_refused(body):
    """Steps that each look at the whole rest of the body would not end in minutes."""
    with pytest.raises(ServingError, match="JSON Parse error"):
        parse_object(body)
