"""Measures the differences of two networks: at their outputs, and layer by layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from converters.verification.verify_artefact import Artefact, Run
from levit_common.arrays import softmax, top1_of
from levit_common.shipped_names import KEYPOINTS, LOGITS, PROBABILITIES

# Number of pictures per chunk; fewer if the outputs of all layers are kept in memory.
_CHUNK, _CHUNK_OF_LAYERS = 16, 8
_SAME = 0.9  # share of pictures that a less precise network must put into the same class
_TYPICAL = 0.1  # allowed mean error of a less precise network's joints, relative to the tolerance


@dataclasses.dataclass(frozen=True)
class Difference:
    """Difference of two arrays, the first of which is the reference.

    Attributes:
      maximum: largest absolute difference.
      mean: mean absolute difference.
      relative: `maximum`, relative to the largest absolute value of the reference.
      cosine: lowest cosine similarity of a picture.
    """

    maximum: float
    mean: float
    relative: float
    cosine: float


@dataclasses.dataclass(frozen=True)
class LayerDifferences:
    """Differences layer by layer, in the order of the network.

    Attributes:
      layers: name -> difference; None if the shapes differ.
      only_a: names of layers that were only found in the first network.
      only_b: names of layers that were only found in the second network.
    """

    layers: dict[str, Difference | None]
    only_a: list[str]
    only_b: list[str]

    def first_beyond(self, tolerance: float) -> str | None:
        """Returns the first layer whose relative difference is not within `tolerance`."""
        for name, difference in self.layers.items():
            if difference is None or not difference.relative <= tolerance:
                return name
        return None


@dataclasses.dataclass(frozen=True)
class OutputDifferences:
    """Differences of the outputs.

    Attributes:
      outputs: differences by name. For classifiers `PROBABILITIES`, and `LOGITS` if both have them;
        for other networks all common outputs.
      same_top1: number of pictures for which both predict the same class; None if the networks are
        not classifiers.
      pictures: number of pictures.
      size: their (height, width).
      missing: outputs that only the reference has; a classifier's logits and probabilities count as
        one.
      broken: files of the networks that return NaN or infinity.
    """

    outputs: dict[str, Difference]
    same_top1: int | None
    pictures: int
    size: tuple[int, int]
    missing: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    @property
    def deciding(self) -> str:
        """Name of the output that is compared with the tolerance: the logits, if there are any.

        For a network that is not a classifier, it is the output with the largest difference.
        """
        for name in (LOGITS, PROBABILITIES):
            if name in self.outputs:
                return name
        return max(
            self.outputs, key=lambda name: np.nan_to_num(self.outputs[name].relative, nan=np.inf)
        )

    def within(self, tolerance: float) -> bool:
        """Returns whether the relative difference of the deciding output is within `tolerance`.

        It never is if a network returns NaN or infinity.
        """
        return not self.broken and self.outputs[self.deciding].relative <= tolerance

    def is_close(self, tolerance: float, is_exact: bool) -> bool:
        """Returns whether the networks compute the same.

        Args:
          tolerance: see `within`.
          is_exact: whether both are of float32. A less precise network may exceed the tolerance if
            nearly all predictions agree, or nearly all joints are at the same place.
        """
        is_within = self.within(tolerance)
        if is_within or is_exact or self.broken:
            return is_within
        if self.same_top1 is not None:
            return self.same_top1 >= _SAME * self.pictures
        # If two places are equally likely, a less precise network may choose the other one.
        difference = self.outputs[self.deciding]
        mean = difference.mean / difference.maximum * difference.relative
        return self.deciding == KEYPOINTS and mean <= _TYPICAL * tolerance


def common_shape(a: Artefact, b: Artefact) -> tuple[int | None, int | None, int]:
    """Returns (height, width, channels) of pictures that both take; None for sides that are open.

    Raises:
      ValueError: input sizes, classes or outputs differ; the message names both files.
    """
    shapes = [artefact.network.input_shape[1:] for artefact in (a, b)]
    sizes = []
    for height, width, channels in shapes:
        other = "" if channels == 3 else f" and {channels} channels"
        sizes.append(f"{height}x{width} pixels{other}")
    if any(None not in sides and len(set(sides)) > 1 for sides in zip(*shapes, strict=True)):
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
    return tuple(x or y for x, y in zip(*shapes, strict=True))


def differing_class_names(a: Artefact, b: Artefact) -> str | None:
    """Returns a text with the first class that has another name in the other file.

    Returns:
      The text; None if all names are the same, or a file has none.
    """
    names_a, names_b = a.network.class_names, b.network.class_names
    if a.network.classes is None or not names_a or not names_b:
        return None
    # A TFLite file with a single output value has the name of the second class only.
    shared = min(len(names_a), len(names_b))
    first = max(len(names_a), len(names_b)) - shared
    pairs = zip(names_a[-shared:], names_b[-shared:], strict=True)
    for number, (here, there) in enumerate(pairs, first):
        if here != there:
            return f"class {number} is {here!r} in {a.source} and {there!r} in {b.source}"
    return None


@np.errstate(invalid="ignore")  # infinity is in `OutputDifferences.broken`
def compare_outputs(a: Artefact, b: Artefact, images: np.ndarray) -> OutputDifferences:
    """Runs both networks on pictures and compares their outputs.

    Args:
      a: the reference.
      b: the network to compare with it.
      images: plain pixels 0..255, float32 (n, height, width, channels), in the size of both inputs.
    """
    totals: dict[str, _Total] = {}
    is_classifier = a.network.classes is not None
    same, missing, broken = 0, set(), set()
    for pair in _both(a, b, a.outputs, b.outputs, images, _CHUNK):
        for artefact, found in zip((a, b), pair, strict=True):
            if not all(np.isfinite(y).all() for y in found.values()):
                broken.add(artefact.source)
        found_a, found_b = map(_with_probabilities, pair) if is_classifier else pair
        for name in found_a:
            if name in found_b:
                totals.setdefault(name, _Total()).add(found_a[name], found_b[name])
            elif not (is_classifier and name == LOGITS):  # exported only if asked for
                missing.add(name)
        if is_classifier:
            top = [top1_of(found[PROBABILITIES]) for found in (found_a, found_b)]
            same += int(np.sum(top[0] == top[1]))
    differences = {name: total.difference() for name, total in totals.items()}
    same = same if is_classifier else None
    return OutputDifferences(
        differences,
        same,
        len(images),
        images.shape[1:3],
        missing=tuple(sorted(missing)),
        broken=tuple(sorted(broken)),
    )


def compare_layers(
    a: Artefact, b: Artefact, images: np.ndarray, outputs: OutputDifferences
) -> LayerDifferences:
    """Runs both networks on pictures and compares what their layers return.

    Args:
      a: the reference.
      b: the network to compare with it.
      images: as in `compare_outputs`.
      outputs: result of `compare_outputs`; its deciding output is added as the last layer.
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
            # In some formats, a map of one token has fewer dimensions.
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
    """Accumulates the difference over chunks of pictures."""

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
        # np.maximum, unlike max(), propagates NaN.
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
    """Yields the outputs of both networks for one chunk of `count` pictures after another."""
    for start in range(0, len(images), count):
        chunk = images[start : start + count]
        yield _run(a, run_a, chunk, count), _run(b, run_b, chunk, count)


def _run(artefact: Artefact, run: Run, images: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Runs a network in batches of fixed size; the last batch is padded with zeros."""
    size = artefact.network.input_shape[0] or count
    parts = []
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        given = len(batch)
        batch = np.pad(batch, [(0, size - given), (0, 0), (0, 0), (0, 0)])
        parts.append({name: y[:given] for name, y in run(batch).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
