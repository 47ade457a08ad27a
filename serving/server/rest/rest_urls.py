"""The paths of TensorFlow Serving's REST API."""

from __future__ import annotations

import dataclasses
import re
import urllib.parse

from tensorflow_serving.apis.model_pb2 import ModelSpec

from serving.server.errors import invalid

_FLAGS = re.IGNORECASE | re.ASCII
_VERSION_OR_LABEL = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_POST = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_VERSION_OR_LABEL}:(?P<verb>classify|regress|predict)", _FLAGS
)
_GET = re.compile(
    rf"/v1/models(?:/(?P<name>[^/:]+))?{_VERSION_OR_LABEL}(?:/(?P<verb>metadata))?", _FLAGS
)
_API = re.compile(r"/v1/.*", _FLAGS | re.DOTALL)
_INT64_DIGITS = 19


@dataclasses.dataclass(frozen=True)
class Target:
    """The target of a request.

    Attributes:
      verb: "predict", "classify", "regress", "metadata" or "status".
      spec: the model, with its version or label if the path contains one.
    """

    verb: str
    spec: ModelSpec


def is_api(path: str) -> bool:
    """Whether a path belongs to the REST API, malformed or not."""
    return _API.fullmatch(path) is not None


def parse_target(method: str, path: str) -> Target:
    """Parses the path of a request.

    Args:
      method: the HTTP method.
      path: path with its query, percent-encoded as sent.

    Raises:
      ServingError: INVALID_ARGUMENT, if the path has no meaning.
    """
    pattern = {"POST": _POST, "GET": _GET}.get(method)
    match = pattern.fullmatch(path) if pattern else None
    verb = (match["verb"] or "") if match else ""
    # As in TensorFlow Serving, method names must be in lower case, unlike the rest of the path.
    if match is None or (method == "POST" and verb != verb.lower()):
        raise invalid(f"Malformed request: {method} {path}")
    if match["name"] is None:
        raise invalid("Missing model name in request.")
    spec = ModelSpec(name=_decode("model name", match["name"]))
    if match["version"] is not None:
        spec.version.value = _version(match["version"])
    if match["label"] is not None:
        spec.version_label = _decode("model version label", match["label"])
    return Target(verb if method == "POST" or verb == "metadata" else "status", spec)


def _version(digits: str) -> int:
    digits = digits.lstrip("0") or "0"
    if len(digits) > _INT64_DIGITS or int(digits) >= 2**63:
        raise invalid(f"Failed to convert version: {digits} to numeric.")
    return int(digits)


def _decode(what: str, text: str) -> str:
    data = urllib.parse.unquote_to_bytes(text.encode("utf-8", "surrogateescape"))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise invalid(f"Failed to decode {what}:{text}") from None
