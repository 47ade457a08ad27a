"""How far two networks are from each other: at their outputs, and layer by layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from converters.verify_artefact import Artefact, Run
from levit_tf.signatures import LOGITS, PROBABILITIES

# Pictures that go through both networks before the next ones, which bounds the memory for layers.
_CHUNK = 8


@dataclasses.dataclass(frozen=True)
class Difference:
    """Between two arrays, the first of which is what is expected.

    Attributes:
      maximum: largest absolute difference.
      mean: mean absolute difference.
      relative: `maximum` over the largest absolute value expected.
      cosine: similarity of the two, the lowest of all pictures.
    """

    maximum: float
    mean: float
    relative: float
    cosine: float


@dataclasses.dataclass(frozen=True)
class LayerDifferences:
    """Layer by layer, in the order of the network.

    Attributes:
      layers: name -> difference; None where the shapes differ.
      only_a: names of layers that only the first network tells.
      only_b: the second.
    """

    layers: dict[str, Difference | None]
    only_a: list[str]
    only_b: list[str]

    def first_beyond(self, tolerance: float) -> str | None:
        """The first layer whose relative difference is not within `tolerance`."""
        for name, difference in self.layers.items():
            if difference is None or not difference.relative <= tolerance:
                return name
        return None


@dataclasses.dataclass(frozen=True)
class OutputDifferences:
    """At the outputs.

    Attributes:
      outputs: `LOGITS`, where both networks have them, and `PROBABILITIES`.
      same_top1: pictures that both put into the same class.
      pictures: how many there were.
    """

    outputs: dict[str, Difference]
    same_top1: int
    pictures: int

    @property
    def deciding(self) -> str:
        """The output that is held against the tolerance: the logits, where there are any."""
        return LOGITS if LOGITS in self.outputs else PROBABILITIES

    def within(self, tolerance: float) -> bool:
        """Whether the relative difference of the deciding output is within `tolerance`."""
        return self.outputs[self.deciding].relative <= tolerance


def check_comparable(a: Artefact, b: Artefact) -> None:
    """Raises ValueError for networks of different pictures or classes, naming both."""
    sizes = ["x".join(map(str, artefact.network.input_shape[1:3])) for artefact in (a, b)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"Not comparable: {a.source} takes pictures of {sizes[0]} pixels, {b.source} of "
            f"{sizes[1]}."
        )
    if a.network.classes != b.network.classes:
        raise ValueError(
            f"Not comparable: {a.source} has {a.network.classes} classes, {b.source} "
            f"{b.network.classes}."
        )


def compare_outputs(a: Artefact, b: Artefact, images: np.ndarray) -> OutputDifferences:
    """Runs both networks on pictures and compares their outputs.

    Args:
      a: what is expected.
      b: what is compared with it.
      images: RGB 0..255, float32 of shape (n, height, width, 3), as both take.
    """
    totals: dict[str, _Total] = {}
    same = 0
    for pair in _both(a, b, a.outputs, b.outputs, images):
        found_a, found_b = (_with_probabilities(found) for found in pair)
        for name in (LOGITS, PROBABILITIES):
            if name in found_a and name in found_b:
                totals.setdefault(name, _Total()).add(found_a[name], found_b[name])
        top = [found[PROBABILITIES].argmax(axis=1) for found in (found_a, found_b)]
        same += int(np.sum(top[0] == top[1]))
    differences = {name: total.difference() for name, total in totals.items()}
    return OutputDifferences(differences, same, len(images))


def compare_layers(
    a: Artefact, b: Artefact, images: np.ndarray, outputs: OutputDifferences
) -> LayerDifferences:
    """Runs both networks on pictures and compares what their layers return.

    Args:
      a: what is expected.
      b: what is compared with it.
      images: as in `compare_outputs`.
      outputs: what that returned, whose deciding output becomes the last layer.
    """
    totals: dict[str, _Total | None] = {}
    only_a, only_b = [], []
    for found_a, found_b in _both(a, b, a.layers, b.layers, images):
        only_a = [name for name in found_a if name not in found_b]
        only_b = [name for name in found_b if name not in found_a]
        for name in found_a:
            if name in only_a:
                continue
            total = totals.setdefault(name, _Total())
            # A map of one token is flat in some formats.
            if total is None or found_a[name].size != found_b[name].size:
                totals[name] = None
            else:
                total.add(found_a[name], found_b[name].reshape(found_a[name].shape))
    differences = {name: total and total.difference() for name, total in totals.items()}
    if differences:
        differences[outputs.deciding] = outputs.outputs[outputs.deciding]
    return LayerDifferences(differences, only_a, only_b)


def _with_probabilities(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if PROBABILITIES in outputs:
        return outputs
    logits = outputs[LOGITS].astype(np.float64)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return {**outputs, PROBABILITIES: exponentials / exponentials.sum(axis=1, keepdims=True)}


class _Total:
    """Sums over chunks of pictures."""

    def __init__(self):
        self._maximum = self._sum = self._largest = 0.0
        self._count = 0
        self._cosine = 1.0

    def add(self, expected: np.ndarray, found: np.ndarray) -> None:
        # (n, ...) -> (n, values)
        x, y = (
            np.reshape(array, (len(array), -1)).astype(np.float64) for array in (expected, found)
        )
        difference = np.abs(x - y)
        # np.maximum, unlike max(), hands on NaN.
        self._maximum = float(np.maximum(self._maximum, difference.max()))
        self._largest = float(np.maximum(self._largest, np.abs(x).max()))
        self._sum += float(difference.sum())
        self._count += difference.size
        norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
        cosine = np.divide((x * y).sum(axis=1), norms, out=np.ones(len(x)), where=norms != 0)
        self._cosine = float(np.minimum(self._cosine, cosine.min()))

    def difference(self) -> Difference:
        if self._largest:
            relative = self._maximum / self._largest
        else:
            relative = float("inf") if self._maximum else 0.0
        return Difference(self._maximum, self._sum / self._count, relative, self._cosine)


def _both(
    a: Artefact, b: Artefact, run_a: Run, run_b: Run, images: np.ndarray
) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """What both return for a few pictures after the other."""
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK]
        yield _run(a, run_a, chunk), _run(b, run_b, chunk)


def _run(artefact: Artefact, run: Run, images: np.ndarray) -> dict[str, np.ndarray]:
    """`run` in batches of one size, which the file may fix, the last one filled up with zeros."""
    size = artefact.network.input_shape[0] or _CHUNK
    parts = []
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        count = len(batch)
        batch = np.pad(batch, [(0, size - count), (0, 0), (0, 0), (0, 0)])
        parts.append({name: y[:count] for name, y in run(batch).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
