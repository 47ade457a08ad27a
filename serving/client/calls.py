"""Calls, encoded for a protocol before they are sent; transports see only paths and bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from serving.client.errors import ReplyError
from serving.client.results import Joint, Metadata, Prediction, VersionStatus

Result = TypeVar("Result")


@dataclass(frozen=True)
class Target:
    """The model that the client calls.

    Attributes:
      model: name of the model.
      version: number of the version; None for the newest, or for the version of `label`.
      label: label of a version.
    """

    model: str
    version: int | None = None
    label: str | None = None

    def __post_init__(self):
        if not self.model:
            raise ValueError("model: expected the name of a model. Received: an empty one")
        if self.version is not None and self.label is not None:
            raise ValueError(
                "version and label: expected at most one of them. "
                f"Received: {self.version} and {self.label!r}"
            )
        if self.version is not None and self.version < 0:
            raise ValueError(f"version: expected 0 or more. Received: {self.version}")


@dataclass(frozen=True)
class Call(Generic[Result]):
    """A request, and the parser of its response.

    Attributes:
      path: the gRPC method, or the path of the URL.
      body: the message, or the JSON to post; None for a GET.
      parse: turns the bytes of the response into a result; raises `ReplyError`.
    """

    path: str
    body: bytes | None
    parse: Callable[[bytes], Result]


class Codec(Protocol):
    """Encodes calls for one protocol."""

    def classify(self, target: Target, pictures: Sequence[bytes]) -> Call[list[list[Prediction]]]:
        """Makes a call that classifies the contents of picture files."""

    def classify_with_exits(
        self, target: Target, pictures: Sequence[bytes]
    ) -> Call[list[tuple[list[Prediction], int | None]]]:
        """Makes the same call; its result includes the exit used for each picture, if any."""

    def predict(
        self,
        target: Target,
        inputs: Mapping[str, np.ndarray],
        signature_name: str,
        output_filter: Sequence[str],
        metadata: Metadata | None,
    ) -> Call[dict[str, np.ndarray]]:
        """Makes a call of a signature. REST needs `metadata` for types and names, unlike gRPC."""

    def model_status(self, target: Target) -> Call[list[VersionStatus]]:
        """Makes a call for the states of the versions."""

    def metadata(self, target: Target) -> Call[Metadata]:
        """Makes a call for the signatures."""


def with_exits(
    found: Sequence[list[Prediction]], exits: Sequence[int] | None
) -> list[tuple[list[Prediction], int | None]]:
    """Combines each picture's predictions with the index of its exit; None without exits.

    Raises:
      ReplyError: the number of exits is not that of the pictures.
    """
    if not exits:
        return [(one, None) for one in found]
    if len(exits) != len(found):
        raise ReplyError(f"expected {len(found)} exits. Received: {len(exits)}")
    return list(zip(found, map(int, exits), strict=True))


def predictions(classes: np.ndarray, scores: np.ndarray, count: int) -> list[list[Prediction]]:
    """Makes the predictions of each picture from the arrays of a response.

    Args:
      classes: names of the classes as bytes, (count, k).
      scores: probabilities, floats of the same shape.
      count: number of pictures sent.

    Raises:
      ReplyError: the arrays have other shapes or types.
    """
    if classes.ndim != 2 or classes.shape != scores.shape or len(classes) != count:
        raise ReplyError(
            f"expected classes and scores of {count} pictures. "
            f"Received: shapes {classes.shape} and {scores.shape}"
        )
    if classes.dtype != object or scores.dtype.kind != "f":
        raise ReplyError(
            "expected names as classes and numbers as scores. "
            f"Received: {classes.dtype} and {scores.dtype}"
        )
    return [
        [
            Prediction(name.decode("utf-8", "replace"), float(score))
            for name, score in zip(names, row, strict=True)
        ]
        for names, row in zip(classes, scores, strict=True)
    ]


def joints(keypoints: np.ndarray, names: np.ndarray, count: int) -> list[list[Joint]]:
    """Makes the joints of each picture from the arrays of a response.

    Args:
      keypoints: (count, joints, 3): x, y, confidence.
      names: names of the joints as bytes, (count, joints).
      count: number of pictures sent.

    Raises:
      ReplyError: the arrays have other shapes or types.
    """
    fits = keypoints.ndim == 3 and keypoints.shape == (count, *names.shape[1:], 3)
    if not fits or len(names) != count or names.dtype != object or keypoints.dtype.kind != "f":
        raise ReplyError(
            f"expected joints of {count} pictures, (x, y, confidence) each, and their names. "
            f"Received: shapes {keypoints.shape} and {names.shape}"
        )
    return [
        [
            Joint(name.decode("utf-8", "replace"), *map(float, place))
            for name, place in zip(named, places, strict=True)
        ]
        for named, places in zip(names, keypoints, strict=True)
    ]


def output(outputs: Mapping[str, Result], name: str) -> Result:
    """Returns one of the outputs of a response.

    Raises:
      ReplyError: it is missing.
    """
    if name not in outputs:
        found = ", ".join(sorted(outputs)) or "none"
        raise ReplyError(f"expected the output {name}. Received: {found}")
    return outputs[name]
