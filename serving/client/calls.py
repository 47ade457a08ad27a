"""What a protocol makes of a call, before anything is sent; transports only see paths and bytes."""

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
    """Which model the client asks.

    Attributes:
      model: its name.
      version: one version; None for the newest, or the one of `label`.
      label: the label of a version.
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
    """A request and how its answer is read.

    Attributes:
      path: the gRPC method, or the path of the URL.
      body: the message, or the JSON that is posted; None for a GET.
      parse: makes a result of the answer's bytes. Raises `ReplyError`.
    """

    path: str
    body: bytes | None
    parse: Callable[[bytes], Result]


class Codec(Protocol):
    """The calls of one protocol."""

    def classify(self, target: Target, pictures: Sequence[bytes]) -> Call[list[list[Prediction]]]:
        """Classifies contents of picture files."""

    def classify_with_exits(
        self, target: Target, pictures: Sequence[bytes]
    ) -> Call[list[tuple[list[Prediction], int | None]]]:
        """The same, and which step of a classifier in steps answered each."""

    def predict(
        self,
        target: Target,
        inputs: Mapping[str, np.ndarray],
        signature_name: str,
        output_filter: Sequence[str],
        metadata: Metadata | None,
    ) -> Call[dict[str, np.ndarray]]:
        """Runs a signature. REST reads types and names, which JSON lacks, in `metadata`."""

    def model_status(self, target: Target) -> Call[list[VersionStatus]]:
        """States of the versions."""

    def metadata(self, target: Target) -> Call[Metadata]:
        """Signatures."""


def with_exits(
    found: Sequence[list[Prediction]], exits: Sequence[int] | None
) -> list[tuple[list[Prediction], int | None]]:
    """Each picture's predictions with the number of the step that gave them, None without steps.

    Raises:
      ReplyError: there are more steps than pictures, or fewer.
    """
    if not exits:
        return [(one, None) for one in found]
    if len(exits) != len(found):
        raise ReplyError(f"expected {len(found)} exits. Received: {len(exits)}")
    return list(zip(found, map(int, exits), strict=True))


def predictions(classes: np.ndarray, scores: np.ndarray, count: int) -> list[list[Prediction]]:
    """Names and probabilities of each picture.

    Args:
      classes: bytes, (count, k).
      scores: numbers of the same shape.
      count: how many pictures were sent.

    Raises:
      ReplyError: the arrays are of other shapes or types.
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
    """Joints of each picture.

    Args:
      keypoints: (count, joints, 3): x, y, confidence.
      names: bytes, (count, joints).
      count: how many pictures were sent.

    Raises:
      ReplyError: the arrays are of other shapes or types.
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
    """One of a reply's outputs.

    Raises:
      ReplyError: it is missing.
    """
    if name not in outputs:
        found = ", ".join(sorted(outputs)) or "none"
        raise ReplyError(f"expected the output {name}. Received: {found}")
    return outputs[name]
