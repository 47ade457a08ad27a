"""The common interface of all files that `converters.verify` compares."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from levit_lite.prediction.network import Network

# Function from RGB 0..255, float32 (n, height, width, 3), to arrays (n, ...) by name.
Run = Callable[[np.ndarray], dict[str, np.ndarray]]


class Precision(NamedTuple):
    """Precision of a file's arithmetic.

    Attributes:
      name: readable name.
      tolerance: allowed difference from the same network in float32: the largest difference of the
        logits, relative to the largest logit.
    """

    name: str
    tolerance: float


# Float32 arithmetic in another order differs by 1e-6 to 1e-5. Correct files differed by 1e-3 with
# float16, 2e-2 with int8 weights and 1e-1 with full int8; a mistake causes larger differences.
FLOAT32 = Precision("float32", 1e-4)
FLOAT16 = Precision("float16", 1e-2)
BFLOAT16 = Precision("bfloat16", 1e-1)
INT8_WEIGHTS = Precision("int8 weights", 1e-1)
INT8 = Precision("int8", 2.5e-1)


@dataclasses.dataclass(frozen=True)
class Artefact:
    """A network in a file of any format.

    Attributes:
      source: the file.
      kind: readable description of the file.
      precision: precision of its arithmetic.
      network: the network with its shapes, already checked.
      outputs: function from pictures to `LOGITS` and `PROBABILITIES`, or the one that the file has.
      layers: function from pictures to the outputs of layers by the names of
        `converters.layer_names`, in the order of the network, maps in channels-last. Layers that
        cannot be found in the file are missing.
    """

    source: str
    kind: str
    precision: Precision
    network: Network
    outputs: Run
    layers: Run
