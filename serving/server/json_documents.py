"""JSON request bodies as Python objects, refused in TensorFlow Serving's words where it has some.

Stricter than TensorFlow Serving in four ways, each of which would else be a wrong answer or a risk
to the server: a key may not come twice in an object, strings are valid UTF-8, nesting ends at
Python's recursion limit, and values other than numbers are a million at most.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NoReturn

import grpc

from serving.server.errors import ServingError
from serving.server.json_number_arrays import (
    NumberArray,
    NumberArrayDecoder,
    constant,
    find_number_arrays,
)

_DEBUG_STRING_CHARACTERS = 256
# Each becomes an object of Python. Arrays of numbers are not meant: see json_number_arrays.
_MOST_VALUES = 1_000_000
# Above this, which bracket is missing is not worth a second pass over the text.
_EXPLAINED_CHARACTERS = 2**16

_WHITESPACE = re.compile(r"[ \t\n\r]*")
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')
# In valid JSON a backslash stands in strings only. Group 1 is half of a surrogate pair.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)
_REASONS = {  # of Python's parser -> of TensorFlow Serving's
    "Expecting value": "Invalid value.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
    "Invalid control character at": "Invalid encoding in string.",
}
_TYPE_NAMES = {
    type(None): "Null",
    dict: "Object",
    list: "Array",
    NumberArray: "Array",
    str: "String",
    int: "Number",
    float: "Number",
}


class _DuplicateKeyError(Exception):
    pass


def invalid(message: str) -> ServingError:
    """A request that the client has to put right: HTTP status 400."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def parse_object(body: bytes) -> dict[str, Any]:
    """Parses the JSON object that a request's body begins with; what follows it is ignored.

    Returns:
      Its members; long arrays of numbers are `NumberArray`s, not yet known to be well-formed.

    Raises:
      ServingError: INVALID_ARGUMENT, if the body is no JSON, or not an object.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _parse_error("Invalid encoding in string.", error.start) from None
    start = _WHITESPACE.match(text).end()
    if start == len(text):
        raise _parse_error("The document is empty.", start)
    found = find_number_arrays(text)
    commas = text.count(",") - sum(text.count(",", *span) for span in found.items())
    if commas > _MOST_VALUES:
        raise invalid(
            f"The request holds more than {_MOST_VALUES} values other than regular arrays of "
            "numbers; send less at a time."
        )
    decoder = NumberArrayDecoder(found, _unique_members) if found else _DECODER
    document, end = _decode(decoder, text, start)
    if "\\u" in text:
        _check_surrogates(text, end)
    if not isinstance(document, dict):
        raise format_error(document, "Is not object")
    return document


def expanded(value: Any) -> Any:
    """A JSON value with lists in the place of `NumberArray`s.

    Raises:
      ServingError: INVALID_ARGUMENT, if one of them is no JSON, or too long for a list, or the
        nesting is too deep.
    """
    try:
        return _expanded(value)
    except RecursionError:
        raise invalid("JSON Parse error: The document is nested too deeply.") from None


def _expanded(value: Any) -> Any:
    if isinstance(value, NumberArray):
        if value.commas() > _MOST_VALUES:
            raise format_error(value, "is not a regular array of numbers of the expected type")
        return _decode(_DECODER, value.data.decode(), 0, value.start)[0]
    if isinstance(value, list):
        return [_expanded(element) for element in value]
    if isinstance(value, dict):
        return {key: _expanded(member) for key, member in value.items()}
    return value


def _decode(decoder: json.JSONDecoder, text: str, start: int, offset: int = 0) -> tuple[Any, int]:
    """The value that begins at `start`, and where it ends."""
    try:
        return decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise _parse_error(_reason(text, error), offset + _offset(text, error.pos)) from None
    except _DuplicateKeyError as error:
        raise invalid(f"JSON Parse error: Duplicate name of object member: {error}") from None
    except RecursionError:
        raise invalid("JSON Parse error: The document is nested too deeply.") from None
    except ValueError:  # an integer of thousands of digits
        number_too_big()


def number_too_big() -> NoReturn:
    """Refuses a number that a double cannot hold."""
    raise invalid("JSON Parse error: Number too big to be stored in double.") from None


def format_error(value: Any, problem: str) -> ServingError:
    """A JSON value does not have the form that was expected."""
    return invalid(f"JSON Value: {debug_string(value)} {problem}")


def type_name(value: Any) -> str:
    """TensorFlow Serving's name for the type of a JSON value."""
    if isinstance(value, bool):
        return "True" if value else "False"
    return _TYPE_NAMES.get(type(value), "Number")


def debug_string(value: Any) -> str:
    """The beginning of a JSON value's text, for an error message."""
    parts: list[str] = []
    _write(value, 0, parts)
    return "".join(parts)[:_DEBUG_STRING_CHARACTERS]


def _write(value: Any, indent: int, parts: list[str]) -> None:
    """Arrays on one line, objects over several; ends soon after the limit, also in depth."""
    if isinstance(value, dict) and value:
        for n, (key, member) in enumerate(value.items()):
            if len(parts) > _DEBUG_STRING_CHARACTERS:
                return
            newline = "\n" + " " * min(indent + 4, _DEBUG_STRING_CHARACTERS)
            parts.append(("," if n else "{") + newline)
            parts.append(json.dumps(key[:_DEBUG_STRING_CHARACTERS], ensure_ascii=False) + ": ")
            _write(member, indent + 4, parts)
        parts.append("\n" + " " * min(indent, _DEBUG_STRING_CHARACTERS) + "}")
    elif isinstance(value, list):
        parts.append("[")
        for n, element in enumerate(value):
            if len(parts) > _DEBUG_STRING_CHARACTERS:
                return
            parts.append(", " if n else "")
            _write(element, indent, parts)
        parts.append("]")
    elif isinstance(value, NumberArray):
        parts.append(value.data[:_DEBUG_STRING_CHARACTERS].decode())
    else:
        value = value[:_DEBUG_STRING_CHARACTERS] if isinstance(value, str) else value
        parts.append(json.dumps(value, ensure_ascii=False))


def _unique_members(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError(debug_string(key).encode("utf-8", "replace").decode())
            seen.add(key)
    return members


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_members, parse_constant=constant)


def _parse_error(reason: str, offset: int) -> ServingError:
    return invalid(f"JSON Parse error: {reason} at offset: {offset}")


def _offset(text: str, position: int) -> int:
    return len(text[:position].encode("utf-8", "surrogatepass"))


def _reason(text: str, error: json.JSONDecodeError) -> str:
    if error.msg != "Expecting ',' delimiter":
        return _REASONS.get(error.msg, "Unspecific syntax error.")
    opened = []
    if error.pos <= _EXPLAINED_CHARACTERS:
        for token in _STRING_OR_BRACKET.finditer(text, 0, error.pos):
            if token[0] in "[{":
                opened.append(token[0])
            elif token[0] in "]}":
                opened.pop()
    if opened and opened[-1] == "{":
        return "Missing a comma or } after an object member."
    return "Missing a comma or ] after an array element."


def _check_surrogates(text: str, end: int) -> None:
    for escape in _ESCAPE.finditer(text, 0, end):
        if escape[1]:
            raise _parse_error(
                "The surrogate pair in string is invalid.", _offset(text, escape.start())
            )
