"""The one face that `converters.verify` gives to every kind of file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from levit_lite.prediction.network import Network

# RGB 0..255, float32 (n, height, width, 3) -> arrays by name, n first.
Run = Callable[[np.ndarray], dict[str, np.ndarray]]


class Precision(NamedTuple):
    """What a file computes in.

    Attributes:
      name: for the reader.
      tolerance: how far it may be from the same network in float32: the largest difference of the
        logits, relative to the largest logit.
    """

    name: str
    tolerance: float


# Arithmetic in another order differs by 1e-6 to 1e-5. Files that are as they should be came to 1e-3
# with float16, 2e-2 with int8 weights and 1e-1 with int8 throughout; a mistake is beyond all that.
FLOAT32 = Precision("float32", 1e-4)
FLOAT16 = Precision("float16", 1e-2)
BFLOAT16 = Precision("bfloat16", 1e-1)
INT8_WEIGHTS = Precision("int8 weights", 1e-1)
INT8 = Precision("int8", 2.5e-1)


@dataclasses.dataclass(frozen=True)
class Artefact:
    """A network in some file.

    Attributes:
      source: the file.
      kind: what it is, in words.
      precision: what it computes in.
      network: its shapes, already checked.
      outputs: pictures -> `LOGITS` and `PROBABILITIES`, or the one of them that the file has.
      layers: pictures -> what layers return, by the names of `converters.layer_names`, in the order
        of the network, maps channels-last; without those that the file does not tell.
    """

    source: str
    kind: str
    precision: Precision
    network: Network
    outputs: Run
    layers: Run
