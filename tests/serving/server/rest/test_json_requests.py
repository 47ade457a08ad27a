"""JSON requests become the arrays that TensorFlow Serving makes of them, or say what is wrong."""

import json

import grpc
import numpy as np
import pytest
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from serving.server.errors import ServingError
from serving.server.json_bodies.requests import examples, named_arrays, parse_object
from tests.support.serving.serving_rest_cases import JSON_DTYPES, OTHER_DTYPES

F, D, S, B = types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE, types_pb2.DT_STRING, types_pb2.DT_BOOL
I8, I32, I64 = types_pb2.DT_INT8, types_pb2.DT_INT32, types_pb2.DT_INT64
U8, U32, U64 = types_pb2.DT_UINT8, types_pb2.DT_UINT32, types_pb2.DT_UINT64
TWO = {"a": F, "b": I32}


def infos(inputs):
    inputs = inputs if isinstance(inputs, dict) else {"x": inputs}
    return {name: TensorInfo(dtype=dtype) for name, dtype in inputs.items()}


def rows(text, inputs):
    return named_arrays(parse_object(b'{"instances": %s}' % text.encode()), infos(inputs))


def columns(text, inputs):
    return named_arrays(parse_object(b'{"inputs": %s}' % text.encode()), infos(inputs))


def refusal(convert, *arguments, code=grpc.StatusCode.INVALID_ARGUMENT):
    with pytest.raises(ServingError) as caught:
        convert(*arguments)
    assert caught.value.code == code
    return caught.value.message


NUMPY = {
    "DT_BOOL": ("[true, false]", np.array([True, False])),
    "DT_STRING": ('["a\\u00e9", {"b64": "/w=="}]', np.array(["aé".encode(), b"\xff"], object)),
    "DT_INT8": ("[-128, 127]", np.array([-128, 127], np.int8)),
    "DT_INT16": ("[-32768, 32767]", np.array([-32768, 32767], np.int16)),
    "DT_INT32": ("[-2147483648, 2147483647]", np.array([-(2**31), 2**31 - 1], np.int32)),
    "DT_INT64": (f"[{-(2**63)}, {2**63 - 1}]", np.array([-(2**63), 2**63 - 1], np.int64)),
    "DT_UINT8": ("[0, 255]", np.array([0, 255], np.uint8)),
    "DT_UINT32": (f"[0, {2**32 - 1}]", np.array([0, 2**32 - 1], np.uint32)),
    "DT_UINT64": (f"[0, {2**64 - 1}]", np.array([0, 2**64 - 1], np.uint64)),
    "DT_FLOAT": ("[1, 2.5e0]", np.array([1, 2.5], np.float32)),
    "DT_DOUBLE": ("[1, 0.1]", np.array([1, 0.1], np.float64)),
}


@pytest.mark.parametrize("dtype", JSON_DTYPES, ids=types_pb2.DataType.Name)
def test_every_dtype_in_both_formats(dtype):
    text, expected = NUMPY[types_pb2.DataType.Name(dtype)]
    for convert in rows, columns:
        array = convert(text, dtype)["x"]
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("dtype", OTHER_DTYPES, ids=types_pb2.DataType.Name)
def test_dtypes_without_json_are_not_implemented(dtype):
    name = types_pb2.DataType.Name(dtype)[3:].lower()
    for text in ("[1]", "[]", "[[1], 2]", "{}"):
        code = grpc.StatusCode.INVALID_ARGUMENT if text == "{}" else grpc.StatusCode.UNIMPLEMENTED
        assert "x" in refusal(columns, text, dtype, code=code)
    assert f"x: JSON has no form for the type {name}" in refusal(rows, "[1]", dtype)


@pytest.mark.parametrize(
    ("dtype", "text"),
    [
        (I8, "128"),
        (U8, "-1"),
        (I32, "2147483648"),
        (I64, str(2**63)),
        (U32, "-1"),
        (U64, str(2**64)),
        (U64, "1e2"),
        (I32, "1.0"),
        (I32, "true"),
        (I32, '"1"'),
        (F, "true"),
        (F, '"1.5"'),
        (F, "null"),
        (B, "1"),
        (S, "1"),
        (S, "null"),
    ],
)
def test_values_of_another_type_are_refused(dtype, text):
    for convert in rows, columns:
        message = refusal(convert, f"[{text}]", dtype)
        expected = "a string or" if dtype == S else types_pb2.DataType.Name(dtype)[3:].lower()
        assert message.startswith(f"x[0]: expected {expected}")
        assert message.endswith(f", got {text.replace('1e2', '100.0')}")


def test_mixed_types_are_refused_wherever_they_stand():
    for text, place in (
        ("[1.5, true]", "x[1]"),
        ("[1.5, null]", "x[1]"),
        ("[[1, 2], [3, false]]", "x[1][1]"),
        ('[1, "2"]', "x[1]"),
        ("[[1, {}]]", "x[0][1]"),
    ):
        assert refusal(rows, text, F).startswith(f"{place}: expected float32, got ")


def test_special_floats_are_read():
    array = columns("[NaN, Infinity, -Infinity, -0.0]", F)["x"]
    np.testing.assert_array_equal(array, np.array([np.nan, np.inf, -np.inf, 0], np.float32))
    assert np.signbit(array[3])


@pytest.mark.parametrize("number", ["1e309", "-1e400", "1e99999999999", "9" * 400, "9" * 5000])
@pytest.mark.parametrize("beside", ["1", "Infinity"])
def test_numbers_beyond_a_double_are_refused(number, beside):
    message = "JSON Parse error: Number too big to be stored in double"
    assert refusal(columns, f"[{beside}, {number}]", F) == message
    assert refusal(columns, f"[{beside}, {number}]", D) == message


def test_numbers_beyond_a_float_are_infinite_and_tiny_ones_zero():
    array = columns("[1e39, -1e39, 1e-50, 1e-99999]", F)["x"]
    np.testing.assert_array_equal(array, np.array([np.inf, -np.inf, 0, 0], np.float32))


def test_shapes_follow_the_nesting():
    assert columns("1", F)["x"].shape == ()
    assert columns("[]", F)["x"].shape == (0,)
    assert columns("[[], []]", F)["x"].shape == (2, 0)
    assert rows("[[[1, 2]], [[3, 4]], [[5, 6]]]", F)["x"].shape == (3, 1, 2)
    assert rows('[{"a": [1, 2], "b": 3}, {"a": [4, 5], "b": 6}]', TWO)["a"].shape == (2, 2)
    assert rows('[{"x": [1]}]', F)["x"].shape == (1, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[1, 2], [1]]", "x[1]: expected an array of 2, as the first, got an array of 1"),
        ("[[[1, 2]], [[1], [2]]]", "x[1]: expected an array of 1, as the first, got an array of 2"),
        ("[[1], 1]", "x[1]: expected an array of 1, as the first, got 1"),
        ("[[[1], 2]]", "x[0][1]: expected an array of 1, as the first, got 2"),
        ("[[1, [2]]]", "x[0][1]: expected no array, as the first, got an array of 1"),
        ("[[[1, 2], [3]]]", "x[0][1]: expected an array of 2, as the first, got an array of 1"),
    ],
)
def test_ragged_rows_are_refused(text, message):
    assert refusal(rows, text, F) == refusal(columns, text, F) == message


def test_the_first_bad_row_is_named():
    assert refusal(rows, "[1, 2, [3], 4]", F).startswith("x[2]: ")
    assert refusal(rows, '[{"a": 1, "b": 1}, {"a": 1, "b": 1.5}]', TWO) == (
        "b[1]: expected int32, got 1.5"
    )


def test_rows_of_several_inputs_have_exactly_their_keys():
    assert refusal(rows, "[1]", TWO).endswith("there are several inputs: ['a', 'b']")
    assert refusal(rows, '[{"a": 1}]', TWO) == (
        "instances[0]: the keys must be the names of the inputs, ['a', 'b']; got \"a\""
    )
    assert refusal(rows, '[{"a": 1, "b": 1, "c": 1}]', TWO).endswith('; got "a", "b", "c"')
    for text in ('[{"a": 1, "b": 1}, 2]', '[{"a": 1, "b": 1}, {"a": 1}]'):
        assert refusal(rows, text, TWO).startswith("instances[1]: ")
    assert refusal(rows, '[1, {"x": 1}]', F).startswith("instances[1]: expected no object")


def test_columns_need_every_input_and_ignore_others():
    assert columns('{"a": [1], "b": [2, 3], "c": null}', TWO).keys() == {"a", "b"}
    assert refusal(columns, '{"a": 1}', TWO) == "Missing named input: b in 'inputs' object."
    assert refusal(columns, "[1]", TWO).endswith("there are several inputs: ['a', 'b']")


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [("aGk=", b"hi"), ("aGk", b"hi"), ("aG\\nk=", b"hi"), ("", b""), ("+/8=", b"\xfb\xff")],
)
def test_base64(encoded, expected):
    assert columns(f'[{{"b64": "{encoded}"}}]', S)["x"].tolist() == [expected]


@pytest.mark.parametrize("encoded", ["a", "aGk==a", "-_8=", "aG k$", "é", "a===", "====a"])
def test_what_is_no_base64_is_refused(encoded):
    assert refusal(rows, f'[{{"b64": "{encoded}"}}]', S).startswith("x: Unable to base64 decode")


@pytest.mark.parametrize("text", ['{"b64": 1}', '{"b64": "aGk=", "c": 1}', '{"B64": "aGk="}', "{}"])
def test_base64_objects_have_exactly_that_key(text):
    message = refusal(columns, f"[{text}]", S)
    assert message == 'x[0]: expected a string or {"b64": string}, got an object'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The document is empty at character 0"),
        (b" \n", "Expecting value at character 2"),
        (b"instances = [1, 2]", "Expecting value at character 0"),
        (b'{"instances": [1, 2', "Expecting ',' delimiter at character 19"),
        (b'{"instances": [1] "x"}', "Expecting ',' delimiter at character 18"),
        (b'{"instances" [1]}', "Expecting ':' delimiter at character 13"),
        (b"{1: 2}", "enclosed in double quotes at character 1"),
        (b'{"a": "b', "Unterminated string starting at at character 6"),
        (b'{"a": "\\x"}', "Invalid \\escape at character 7"),
        (b'{"a": "\\u12g4"}', "escape at character "),
        (b'{"a": "\\ud800"}', "not valid UTF-8"),
        (b'{"\\udc00\\ud800": 1}', "not valid UTF-8"),
        (b'{"a": "\xff"}', "not valid UTF-8"),
        (b'{"\xc3\xa9": }', "Expecting value at character 6"),
        (b'{"a": "\n"}', "Invalid control character at at character 7"),
        (b"[" * 500_000 + b"]" * 500_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', 'The key "c" comes twice'),
        (b'{"a": ' + b"9" * 5000 + b"}", "Number too big"),
    ],
    ids=lambda value: None if isinstance(value, str) else repr(value[:24]),
)
def test_what_is_no_json_is_refused_with_a_reason(body, message):
    text = refusal(parse_object, body)
    assert text.startswith("JSON Parse error: ")
    assert message in text


def test_what_follows_the_document_is_ignored_and_so_is_a_byte_order_mark():
    assert parse_object(b'\xef\xbb\xbf {"a": [1]}X') == {"a": [1]}
    assert parse_object(b'{"a": "\\ud83d\\ude00 \\\\ud800"}') == {"a": "😀 \\ud800"}


def test_the_document_is_an_object():
    for body, found in ((b'[1, {"a": "b"}, null]', "an array"), (b'"a"', '"a"'), (b"null", "null")):
        assert refusal(parse_object, body).endswith(f"a JSON object, got {found}")


def test_messages_quote_the_beginning_of_large_values_only():
    for value in ("x" * 10**6, [0] * 10**6, {str(n): n for n in range(10**4)}, int("9" * 4000)):
        for text in (json.dumps([value]), json.dumps([1, value]), json.dumps({"x": [value]})):
            assert len(refusal(columns, text, B)) < 200
            assert len(refusal(rows, text, B)) < 200
    assert len(refusal(rows, json.dumps([{"k" * 10**6: 1}]), F)) < 200
    many = {f"key {n}": n for n in range(10**4)}
    assert len(refusal(rows, json.dumps([many]), F)) < 400
    nested = "[" * 900 + "]" * 900
    assert len(refusal(columns, f"[{nested}, 1]", F)) < 200


def test_ranks_that_numpy_cannot_hold_are_refused():
    assert columns("[" * 64 + "]" * 64, F)["x"].ndim == 64
    assert refusal(columns, "[" * 65 + "]" * 65, F).startswith("x: ")


@pytest.mark.parametrize(
    ("text", "inputs"),
    [
        ("[" + "1.5," * 100_000 + "true]", F),
        ("[" + "[1,2]," * 50_000 + "[1]]", F),
        ("[" + "[]," * 100_000 + "[1]]", F),
        ("[" + '{"x":1},' * 50_000 + '{"y":1}]', F),
        ("[" + '{"b64":"aGk="},' * 50_000 + '{"b64":"a"}]', S),
    ],
)
def test_long_bad_lists_are_refused(text, inputs):
    assert len(refusal(rows, text, inputs)) < 200


def feature_refusal(text):
    return refusal(examples, parse_object(text.encode()))


def test_examples_have_features_of_one_kind():
    document = parse_object(
        b'{"examples": [{"f": [0.5, Infinity], "i": [1, true], "s": ["a", {"b64": "/w=="}],'
        b' "n": [], "big": 18446744073709551616}]}'
    )
    (example,) = examples(document).example_list.examples
    features = example.features.feature
    assert list(features["f"].float_list.value) == [0.5, np.inf]
    assert list(features["i"].int64_list.value) == [1, 1]
    assert list(features["s"].bytes_list.value) == [b"a", b"\xff"]
    assert features["n"].WhichOneof("kind") is None
    assert list(features["big"].float_list.value) == [np.float32(2.0**64)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "'examples' must be an array of at least one object."),
        ('{"examples": 1}', "'examples' must be an array of at least one object."),
        ('{"examples": []}', "'examples' must be an array of at least one object."),
        ('{"examples": [{}, 1]}', "examples[1]: an example must be a JSON object, got 1"),
        ('{"context": [], "examples": [{}]}', "context: an example must be"),
        ('{"examples": [{"n": null}]}', 'examples[0], "n": expected numbers'),
        ('{"examples": [{"n": {"a": 1}}]}', "got an object"),
        ('{"examples": [{"n": [[1]]}]}', "got an array"),
        ('{"examples": [{"n": [1, 1.5]}]}', 'examples[0], "n": expected values of one type'),
        ('{"examples": [{"n": ["a", 1]}]}', 'examples[0], "n": expected values of one type'),
        ('{"examples": [{"n": 9223372036854775808}]}', "at most int64"),
        ('{"examples": [{"n": {"b64": "a"}}]}', 'examples[0], "n": Unable to base64 decode "a"'),
        ('{"examples": [{"n": 1e400}]}', "Number too big to be stored in double"),
    ],
)
def test_bad_examples_are_refused(text, message):
    assert message in feature_refusal(text)
