"""JSON requests become the tensors that TensorFlow Serving makes of them, and errors its errors."""

import json
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from serving.server.errors import ServingError
from serving.server.json_documents import parse_object
from serving.server.json_examples import input_from_json
from serving.server.json_tensors import tensors_from_columns, tensors_from_rows
from tests.support.serving_rest_cases import JSON_DTYPES, OTHER_DTYPES

F, D, S, B = types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE, types_pb2.DT_STRING, types_pb2.DT_BOOL
I8, I32, I64 = types_pb2.DT_INT8, types_pb2.DT_INT32, types_pb2.DT_INT64
U8, U32, U64 = types_pb2.DT_UINT8, types_pb2.DT_UINT32, types_pb2.DT_UINT64
TWO = {"a": F, "b": I32}


def infos(inputs):
    inputs = inputs if isinstance(inputs, dict) else {"x": inputs}
    return {name: TensorInfo(dtype=dtype) for name, dtype in inputs.items()}


def rows(text, inputs):
    instances = parse_object(b'{"instances": %s}' % text.encode())["instances"]
    tensors = tensors_from_rows(instances, infos(inputs))
    return {name: tf.make_ndarray(tensor) for name, tensor in tensors.items()}


def columns(text, inputs):
    value = parse_object(b'{"inputs": %s}' % text.encode())["inputs"]
    tensors = tensors_from_columns(value, infos(inputs))
    return {name: tf.make_ndarray(tensor) for name, tensor in tensors.items()}


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
    message = f"Conversion of JSON Value: 1 to type: {name}"
    assert refusal(columns, "[1]", dtype, code=grpc.StatusCode.UNIMPLEMENTED) == message
    assert refusal(rows, "[1]", dtype) == (
        f"Failed to process element: 0 of 'instances' list. Error: UNIMPLEMENTED: {message}"
    )


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
        name = types_pb2.DataType.Name(dtype)[3:].lower()
        assert f"JSON Value: {text.replace('1e2', '100.0')} Type: " in message
        assert message.endswith(f"is not of expected type: {name}")


def test_mixed_types_are_refused_wherever_they_stand():
    for text in ("[1.5, true]", "[1.5, null]", "[[1, 2], [3, false]]", '[1, "2"]'):
        assert "is not of expected type: float" in refusal(rows, text, F)


def test_special_floats_are_read():
    array = columns("[NaN, Infinity, -Infinity, -0.0]", F)["x"]
    np.testing.assert_array_equal(array, np.array([np.nan, np.inf, -np.inf, 0], np.float32))
    assert np.signbit(array[3])


@pytest.mark.parametrize("number", ["1e309", "-1e400", "1e99999999999", "9" * 400, "9" * 5000])
@pytest.mark.parametrize("beside", ["1", "Infinity"])
def test_numbers_beyond_a_double_are_refused(number, beside):
    message = "JSON Parse error: Number too big to be stored in double."
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
        ("[[1, 2], [1]]", "Expecting tensor size: 2 but got: 1"),
        ("[[[1, 2]], [[1], [2]]]", "Expecting shape [1,2] but got: [2,1]"),
        ("[[1], 1]", "Expecting shape [1] but got: []"),
        ("[[[1], 2]]", "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. "
         "Expected at level: 2"),
        ("[[1, [2]]]", "Encountered list at unexpected level: 1 expected < 1"),
        ("[[[1, 2], [3]]]", "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
    ],
)  # fmt: skip
def test_ragged_rows_are_refused(text, message):
    assert refusal(rows, text, F).endswith(f"Error: INVALID_ARGUMENT: {message}")


def test_the_first_bad_row_is_named():
    assert refusal(rows, "[1, 2, [3], 4]", F).startswith("Failed to process element: 2 of ")
    assert refusal(rows, '[{"a": 1, "b": 1}, {"a": 1, "b": 1.5}]', TWO) == (
        "Failed to process element: 1 key: b of 'instances' list. Error: INVALID_ARGUMENT: "
        "JSON Value: 1.5 Type: Number is not of expected type: int32"
    )


def test_rows_of_several_inputs_have_exactly_their_keys():
    assert refusal(rows, "[1]", TWO).startswith("instances is a plain list, but expecting list of")
    assert refusal(rows, '[{"a": 1}]', TWO) == (
        "Failed to process element: 0 of 'instances' list. JSON object: {\n"
        '    "a": 1\n} keys must be equal to: a,b'
    )
    assert refusal(rows, '[{"a": 1, "b": 1, "c": 1}]', TWO) == (
        "Failed to process element: 0 key: c of 'instances' list. Error: INVALID_ARGUMENT: "
        "JSON object: does not have named input: c"
    )
    assert refusal(rows, '[{"a": 1, "b": 1}, 2]', TWO) == (
        "Expecting object but got list at item 1 of input list"
    )
    assert refusal(rows, '[1, {"x": 1}]', F) == (
        "Expecting value/list but got object at item 1 of input list"
    )


def test_columns_need_every_input_and_ignore_others():
    assert columns('{"a": [1], "b": [2, 3], "c": null}', TWO).keys() == {"a", "b"}
    assert refusal(columns, '{"a": 1}', TWO) == "Missing named input: b in 'inputs' object."
    assert refusal(columns, "[1]", TWO).startswith("inputs is a plain value/list, but expecting")


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [("aGk=", b"hi"), ("aGk", b"hi"), ("aG\\nk=", b"hi"), ("", b""), ("+/8=", b"\xfb\xff")],
)
def test_base64(encoded, expected):
    assert columns(f'[{{"b64": "{encoded}"}}]', S)["x"].tolist() == [expected]


@pytest.mark.parametrize("encoded", ["a", "aGk==a", "-_8=", "aG k$", "é", "a===", "====a"])
def test_what_is_no_base64_is_refused(encoded):
    assert "Unable to base64 decode" in refusal(rows, f'[{{"b64": "{encoded}"}}]', S)


@pytest.mark.parametrize("text", ['{"b64": 1}', '{"b64": "aGk=", "c": 1}', '{"B64": "aGk="}', "{}"])
def test_base64_objects_have_exactly_that_key(text):
    message = refusal(columns, f"[{text}]", S)
    assert message.endswith("not formatted correctly for base64 data")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The document is empty"),
        (b" \n", "The document is empty. at offset: 2"),
        (b"instances = [1, 2]", "Invalid value. at offset: 0"),
        (b'{"instances": [1, 2', "Missing a comma or ] after an array element. at offset: 19"),
        (b'{"instances": [1] "x"}', "Missing a comma or } after an object member. at offset: 18"),
        (b'{"instances" [1]}', "Missing a colon after a name of object member. at offset: 13"),
        (b"{1: 2}", "Missing a name for object member. at offset: 1"),
        (b'{"a": "b', "Missing a closing quotation mark in string. at offset: 6"),
        (b'{"a": "\\x"}', "Invalid escape character in string. at offset: 7"),
        (b'{"a": "\\u12g4"}', "Incorrect hex digit after \\u escape in string. at offset: 8"),
        (b'{"a": "\\ud800"}', "The surrogate pair in string is invalid. at offset: 7"),
        (b'{"\\udc00\\ud800": 1}', "The surrogate pair in string is invalid. at offset: 2"),
        (b'{"a": "\xff"}', "Invalid encoding in string. at offset: 7"),
        (b'{"\xc3\xa9": }', "Invalid value. at offset: 7"),
        (b'{"a": "\n"}', "Invalid encoding in string. at offset: 7"),
        (b"[" * 500_000 + b"]" * 500_000, "The document is nested too deeply."),
        (b'{"a":' * 100_000, "The document is nested too deeply."),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', 'Duplicate name of object member: "c"'),
        (b'{"a": ' + b"9" * 5000 + b"}", "Number too big to be stored in double."),
    ],
    ids=lambda value: None if isinstance(value, str) else repr(value[:24]),
)
def test_what_is_no_json_is_refused_with_a_reason(body, message):
    assert refusal(parse_object, body) == f"JSON Parse error: {message}"


def test_what_follows_the_document_is_ignored_and_so_is_a_byte_order_mark():
    assert parse_object(b'\xef\xbb\xbf {"a": [1]}X') == {"a": [1]}
    assert parse_object(b'{"a": "\\ud83d\\ude00 \\\\ud800"}') == {"a": "😀 \\ud800"}


def test_the_document_is_an_object():
    assert refusal(parse_object, b'[1, {"a": "b"}, null]') == (
        'JSON Value: [1, {\n    "a": "b"\n}, null] Is not object'
    )


def test_messages_quote_the_beginning_of_large_values_only():
    for value in ("x" * 10**6, [0] * 10**6, {str(n): n for n in range(10**4)}):
        body = json.dumps([value]).encode()
        assert 256 <= len(refusal(parse_object, body)) < 300
    nested = b"[" * 900 + b"]" * 900
    assert len(refusal(parse_object, nested)) < 300
    assert len(refusal(columns, f"[{nested.decode()}, 1]", F)) < 300


def test_ranks_that_tensorflow_cannot_hold_are_refused():
    assert "at most 254 dimensions" in refusal(columns, "[" * 255 + "]" * 255, F)


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
def test_long_bad_lists_are_refused_in_linear_time(text, inputs):
    start = time.thread_time()
    refusal(rows, text, inputs)
    assert time.thread_time() - start < 5


def feature_refusal(text):
    return refusal(input_from_json, parse_object(text.encode()))


def test_examples_have_features_of_one_kind():
    document = parse_object(
        b'{"examples": [{"f": [0.5, Infinity], "i": [1, true], "s": ["a", {"b64": "/w=="}],'
        b' "n": [], "big": 18446744073709551616}]}'
    )
    (example,) = input_from_json(document).example_list.examples
    features = example.features.feature
    assert list(features["f"].float_list.value) == [0.5, np.inf]
    assert list(features["i"].int64_list.value) == [1, 1]
    assert list(features["s"].bytes_list.value) == [b"a", b"\xff"]
    assert features["n"].WhichOneof("kind") is None
    assert list(features["big"].float_list.value) == [np.float32(2.0**64)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "JSON Value: {} When method is classify, key 'examples' is expected and was not "
         "found"),
        ('{"examples": 1}', "Expecting 'examples' value to be an list/array"),
        ('{"examples": []}', "'examples' value is an empty array"),
        ('{"examples": [1]}', "Example must be JSON object but got JSON Number"),
        ('{"context": [], "examples": [{}]}', "Example must be JSON object but got JSON Array"),
        ('{"examples": [{"n": null}]}', "Feature: n has element with unexpected JSON type: Null"),
        ('{"examples": [{"n": {"a": 1}}]}', "n has element with unexpected JSON type: Object"),
        ('{"examples": [{"n": [[1]]}]}', "n has element with unexpected JSON type: Array"),
        ('{"examples": [{"n": [1, 1.5]}]}', "feature: n expecting type: int64"),
        ('{"examples": [{"n": ["a", 1]}]}', "feature: n expecting type: bytes"),
        ('{"examples": [{"n": 9223372036854775808}]}', "Only int64_t is supported."),
        ('{"examples": [{"n": {"b64": "a"}}]}', "Unable to base64 decode"),
        ('{"examples": [{"n": 1e400}]}', "Number too big to be stored in double."),
    ],
)  # fmt: skip
def test_bad_examples_are_refused(text, message):
    assert feature_refusal(text).endswith(message)
