"""How far two networks are from each other: at their outputs, and layer by layer."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import numpy as np

from converters.verification.verify_artefact import FLOAT32, Artefact, Run
from converters.verification.verify_pictures import comparison_pictures
from levit_common.arrays import softmax, top1_of
from levit_common.shipped_names import KEYPOINTS, LOGITS, PROBABILITIES

# Pictures that go through both networks before the next ones; fewer where layers take memory.
_CHUNK, _CHUNK_OF_LAYERS = 16, 8
_CHECKED = 16  # pictures that an export is compared on
# Pictures of two shapes, where a network takes every size that its stem divides.
_OPEN_SIZES = [(96, 160), (192, 128)]
_SAME = 0.9  # share of these that a coarser export must put into the same class
_TYPICAL = 0.1  # share of the tolerance that a coarser export's joints may be off by in the mean


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
      outputs: of classifiers `LOGITS`, where both have them, and `PROBABILITIES`; of other networks
        what both return.
      same_top1: pictures that both put into the same class; None for what is no classifier.
      pictures: how many there were.
    """

    outputs: dict[str, Difference]
    same_top1: int | None
    pictures: int

    @property
    def deciding(self) -> str:
        """The output that is held against the tolerance: the logits, where there are any.

        Of a network that is no classifier the output that differs most.
        """
        for name in (LOGITS, PROBABILITIES):
            if name in self.outputs:
                return name
        return max(self.outputs, key=lambda name: self.outputs[name].relative)

    def within(self, tolerance: float) -> bool:
        """Whether the relative difference of the deciding output is within `tolerance`."""
        return self.outputs[self.deciding].relative <= tolerance


def check_comparable(a: Artefact, b: Artefact) -> None:
    """Raises ValueError for networks of different pictures, classes or outputs, naming both."""
    sizes = []
    for artefact in (a, b):
        height, width, channels = artefact.network.input_shape[1:]
        other = "" if channels == 3 else f" and {channels} channels"
        sizes.append(f"{height}x{width} pixels{other}")
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"Not comparable: {a.source} takes pictures of {sizes[0]}, {b.source} of {sizes[1]}."
        )
    if a.network.classes != b.network.classes:
        raise ValueError(
            f"Not comparable: {a.source} has {a.network.classes} classes, {b.source} "
            f"{b.network.classes}."
        )
    found = [sorted(artefact.network.output_shapes) for artefact in (a, b)]
    if a.network.classes is None and not set(found[0]) & set(found[1]):
        raise ValueError(
            f"Not comparable: {a.source} returns {', '.join(found[0])}, {b.source} "
            f"{', '.join(found[1])}."
        )


def compare_outputs(a: Artefact, b: Artefact, images: np.ndarray) -> OutputDifferences:
    """Runs both networks on pictures and compares their outputs.

    Args:
      a: what is expected.
      b: what is compared with it.
      images: plain pixels 0..255, float32 of shape (n, height, width, channels), as both take.
    """
    totals: dict[str, _Total] = {}
    is_classifier = a.network.classes is not None
    same = 0
    for pair in _both(a, b, a.outputs, b.outputs, images, _CHUNK):
        found_a, found_b = map(_with_probabilities, pair) if is_classifier else pair
        for name in found_a:
            if name in found_b:
                totals.setdefault(name, _Total()).add(found_a[name], found_b[name])
        if is_classifier:
            top = [top1_of(found[PROBABILITIES]) for found in (found_a, found_b)]
            same += int(np.sum(top[0] == top[1]))
    differences = {name: total.difference() for name, total in totals.items()}
    return OutputDifferences(differences, same if is_classifier else None, len(images))


def check_export(
    reference: Artefact,
    export: Artefact,
    images: np.ndarray | None,
    tolerance: float,
    path: str | os.PathLike,
) -> float:
    """Refuses an export that does not compute what the model does that it was made from.

    Args:
      reference: the user's model, called as its user calls it.
      export: the file.
      images: plain pixels (n, height, width, channels); None for pictures that come with
        scikit-learn, or made-up ones where that is missing.
      tolerance: largest difference of the deciding output, relative to its largest value. An export
        of coarser numbers may exceed it if it answers the same, or nearly all joints are where
        they were.
      path: what the file is to be called, for the message.

    Returns:
      That difference.

    Raises:
      ValueError: it is beyond `tolerance`, or not a number.
    """
    *sides, channels = reference.network.input_shape[1:]
    sizes = _OPEN_SIZES if None in sides else [sides]
    batches = [images]
    if images is None:
        batches = [
            comparison_pictures(
                None, (*(a or b for a, b in zip(sides, size, strict=True)), channels)
            )
            for size in sizes
        ]
    worst = 0.0
    for batch in batches:
        found = compare_outputs(reference, export, np.asarray(batch[:_CHECKED], np.float32))
        relative = found.outputs[found.deciding].relative
        is_close = relative <= tolerance  # and so not NaN
        if export.precision != FLOAT32:
            if found.same_top1 is not None:
                is_close |= found.same_top1 >= _SAME * found.pictures
            elif found.deciding == KEYPOINTS:
                # Of two places that are as likely, coarser numbers take either.
                mean = found.outputs[KEYPOINTS].mean / found.outputs[KEYPOINTS].maximum * relative
                is_close |= mean <= _TYPICAL * tolerance
        if not is_close:
            size = "x".join(map(str, batch.shape[1:3]))
            raise ValueError(
                f"{path}: not written, as it does not compute what the Keras model does: "
                f"{found.deciding} of pictures of {size} differ by {relative:.1e} of the largest, "
                f"more than {tolerance:.0e}."
            )
        worst = max(worst, relative)
    return worst


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
    for found_a, found_b in _both(a, b, a.layers, b.layers, images, _CHUNK_OF_LAYERS):
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
    if PROBABILITIES in outputs or LOGITS not in outputs:
        return outputs
    return {**outputs, PROBABILITIES: softmax(outputs[LOGITS].astype(np.float64))}


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
    a: Artefact, b: Artefact, run_a: Run, run_b: Run, images: np.ndarray, count: int
) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """What both return for `count` pictures after the other."""
    for start in range(0, len(images), count):
        chunk = images[start : start + count]
        yield _run(a, run_a, chunk, count), _run(b, run_b, chunk, count)


def _run(artefact: Artefact, run: Run, images: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """`run` in batches of one size, which the file may fix, the last one filled up with zeros."""
    size = artefact.network.input_shape[0] or count
    parts = []
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        given = len(batch)
        batch = np.pad(batch, [(0, size - given), (0, 0), (0, 0), (0, 0)])
        parts.append({name: y[:given] for name, y in run(batch).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
