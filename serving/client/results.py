"""The results that the client returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Prediction(NamedTuple):
    """A class predicted for a picture.

    Attributes:
      name: name of the class.
      probability: probability of the class, 0..1.
    """

    name: str
    probability: float


class Joint(NamedTuple):
    """One joint of a person in a picture.

    Attributes:
      name: name of the joint.
      x: horizontal position in pixels of the sent picture; 0 is the centre of its first column.
      y: vertical position, in the same way.
      confidence: confidence of the position, 0..1.
    """

    name: str
    x: float
    y: float
    confidence: float


@dataclass(frozen=True)
class VersionStatus:
    """One version of a model on the server.

    Attributes:
      version: number of the version.
      state: "START", "LOADING", "AVAILABLE", "UNLOADING", "END" or "UNKNOWN".
      error_code: "OK", or the code of the error that keeps it from serving.
      error_message: the error's message; empty if there is none.
    """

    version: int
    state: str
    error_code: str
    error_message: str


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a signature.

    Attributes:
      dtype: TensorFlow's name of the type in lower case: "float" for float32, "string" for bytes.
      shape: sizes, with None where any size is accepted; None if even the rank is unknown.
    """

    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Signature:
    """A function of the model.

    Attributes:
      inputs: inputs by name.
      outputs: outputs by name.
      method_name: "tensorflow/serving/predict" or "tensorflow/serving/classify" and the like.
    """

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method_name: str


@dataclass(frozen=True)
class Metadata:
    """The signatures of a version of a model.

    Attributes:
      model: name of the model.
      version: number of the version that responded.
      signatures: signatures by name.
    """

    model: str
    version: int
    signatures: Mapping[str, Signature]
