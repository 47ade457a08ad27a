"""What the client returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Prediction(NamedTuple):
    """One class of a picture.

    Attributes:
      name: of the class.
      probability: 0..1.
    """

    name: str
    probability: float


class Joint(NamedTuple):
    """One joint of a person in a picture.

    Attributes:
      name: of the joint.
      x: pixels of the picture that was sent, from the middle of its first to the right.
      y: the same downwards.
      confidence: 0..1.
    """

    name: str
    x: float
    y: float
    confidence: float


@dataclass(frozen=True)
class VersionStatus:
    """One version of a model on the server.

    Attributes:
      version: its number.
      state: "START", "LOADING", "AVAILABLE", "UNLOADING", "END" or "UNKNOWN".
      error_code: "OK", or what kept it from serving.
      error_message: the same in words, empty if there is nothing to say.
    """

    version: int
    state: str
    error_code: str
    error_message: str


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a signature.

    Attributes:
      dtype: TensorFlow's name in lower case: "float32" is "float", bytes are "string".
      shape: with None where any size is taken; None as a whole if even the rank is open.
    """

    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Signature:
    """A function of the model.

    Attributes:
      inputs: by name.
      outputs: by name.
      method_name: "tensorflow/serving/predict" or "tensorflow/serving/classify" and the like.
    """

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method_name: str


@dataclass(frozen=True)
class Metadata:
    """What a version of a model offers.

    Attributes:
      model: its name.
      version: the version that answered.
      signatures: by name.
    """

    model: str
    version: int
    signatures: Mapping[str, Signature]
