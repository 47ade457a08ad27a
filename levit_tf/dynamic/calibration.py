"""Chooses the confidence at which a picture leaves at a step, with a statistical guarantee.

The guarantee ("promise" in dynamic.json) is about one error only: a picture leaves early with a
wrong class although the whole network would be right. With probability 1 - delta over the
calibration pictures, this happens to at most a share epsilon of all pictures. It holds for every
network and every kind of picture, if the calibration pictures are drawn like later ones and were
not used for training.

Source: fixed-sequence testing of "Learn then Test", arXiv 2110.01052, with the exact binomial bound
of Clopper and Pearson; for early exits "Fast yet Safe", arXiv 2405.20915.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from levit_tf.dynamic.confidence import confidence, fit_temperature

# Confidences to try, in this order. The order is fixed because it must not depend on the pictures.
# The values are dense near 1, where most confidences of networks are.
SEQUENCE = tuple(1 - 0.75 * (step / 200) ** 2 for step in range(1, 201))
NEVER = 2.0  # a threshold that no confidence reaches
_FOR_TEMPERATURES = 0.2  # share of the calibration pictures that the guarantee does not use


@dataclasses.dataclass(frozen=True)
class Point:
    """One threshold that was tried.

    Attributes:
      threshold: confidence from which on pictures leave.
      leaving: share of the pictures that leaves at each step, including the last.
      errors: share of pictures that left early with a wrong class while the whole network is right.
      bound: upper confidence bound of `errors`.
      top1: share of pictures that the steps classify right, 0..1; None in records of earlier
        versions.
    """

    threshold: float
    leaving: tuple[float, ...]
    errors: float
    bound: float
    top1: float | None = None


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Thresholds, and the guarantee that they keep.

    Attributes:
      temperatures: for each step except the last, the number its logits are divided by.
      thresholds: for each step except the last, the confidence from which on pictures leave there.
      epsilon: largest share of errors that the guarantee allows.
      delta: probability that the guarantee does not hold.
      pictures: number of calibration pictures that the guarantee is based on.
      curve: all thresholds that keep the guarantee, and the first one that does not.
      whole_top1: share of these pictures that the whole network classifies right, 0..1; None in
        records of earlier versions.
    """

    temperatures: tuple[float, ...]
    thresholds: tuple[float, ...]
    epsilon: float
    delta: float
    pictures: int
    curve: tuple[Point, ...]
    whole_top1: float | None = None

    def __str__(self) -> str:
        chosen = next((p for p in self.curve if p.threshold == self.thresholds[0]), None)
        promise = (
            f"with confidence {1 - self.delta:.0%}, at most {self.epsilon:.2%} of the pictures "
            "leave early with a wrong answer where the whole network is right "
            f"({self.pictures:,} pictures)"
        )
        if chosen is None:
            return f"no picture leaves early: {promise}"
        shares = ", ".join(f"{share:.0%}" for share in chosen.leaving)
        known = chosen.top1 is not None and self.whole_top1 is not None
        accuracy = (
            f"; top-1 {chosen.top1:.1%}, the whole network {self.whole_top1:.1%}" if known else ""
        )
        thresholds = ", ".join(f"{t:.4f}" for t in self.thresholds)
        return f"thresholds {thresholds}; {shares}{accuracy}; {promise}"


def calibrate(
    logits: Sequence[np.ndarray],
    labels: np.ndarray,
    *,
    epsilon: float,
    delta: float = 0.1,
    seed: int = 0,
) -> Calibration:
    """Chooses thresholds that keep the guarantee described in this module.

    Args:
      logits: logits (n, classes) of each step; those of the whole network come last.
      labels: (n,) integers.
      epsilon: largest allowed share of errors.
      delta: largest allowed probability that the guarantee does not hold.
      seed: seed of the random choice of pictures that the temperatures are fitted on.

    Raises:
      ValueError: epsilon or delta is not in (0, 1), shapes do not fit, or there are too few
        pictures for any threshold; the message says how many are needed.
    """
    check_enough(len(labels), epsilon, delta)
    temperatures, part, counted = split_and_fit(logits, labels, seed)
    outcomes = outcomes_of(part, counted, temperatures)
    curve, threshold = [], NEVER
    for candidate in SEQUENCE:
        point = try_threshold(outcomes, candidate, delta)
        curve.append(point)
        if point.bound > epsilon:
            break
        threshold = candidate
    return Calibration(
        temperatures,
        (threshold,) * len(temperatures),
        epsilon,
        delta,
        len(counted),
        tuple(curve),
        top1_of(part[-1], counted),
    )


def undecided(
    logits: Sequence[np.ndarray], labels: np.ndarray, *, delta: float, seed: int = 0
) -> Calibration:
    """Fits temperatures only: no picture leaves early. For the arguments, see `calibrate`.

    Raises:
      ValueError: shapes do not fit.
    """
    temperatures, _, counted = split_and_fit(logits, labels, seed)
    never = (NEVER,) * len(temperatures)
    return Calibration(temperatures, never, 0.0, delta, len(counted), ())


def check_enough(pictures: int, epsilon: float, delta: float) -> None:
    """Checks that there are enough pictures for a threshold to keep the guarantee.

    Raises:
      ValueError: epsilon or delta is not in (0, 1), or there are too few calibration pictures; the
        message says how many are needed.
    """
    for name, value in (("epsilon", epsilon), ("delta", delta)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must lie between 0 and 1. Received: {value}")
    needed = fewest_pictures(epsilon, delta)
    if pictures - int(_FOR_TEMPERATURES * pictures) < needed:
        total = math.ceil(needed / (1 - _FOR_TEMPERATURES))
        raise ValueError(
            f"{pictures} calibration pictures are too few for epsilon={epsilon:g} with "
            f"delta={delta:g}: at least {total} are needed, however good the network is."
        )


def split_and_fit(
    logits: Sequence[np.ndarray], labels: np.ndarray, seed: int
) -> tuple[tuple[float, ...], list[np.ndarray], np.ndarray]:
    """Fits temperatures on a part of the pictures.

    Returns:
      A temperature for each step except the last; logits and labels of the remaining pictures.

    Raises:
      ValueError: shapes do not fit.
    """
    _check_shapes(logits, labels)
    fitted, counted = fitted_and_counted(len(labels), seed)
    temperatures = tuple(fit_temperature(one[fitted], labels[fitted]) for one in logits[:-1])
    return temperatures, [one[counted] for one in logits], labels[counted]


def fitted_and_counted(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Splits the indices of calibration pictures at random.

    Args:
      count: number of pictures.
      seed: as in `calibrate`.

    Returns:
      Indices of those that anything may be fitted to, and of those that are counted.
    """
    order = np.random.default_rng(seed).permutation(count)
    return tuple(np.split(order, [int(_FOR_TEMPERATURES * count)]))


def leaving_step(
    logits: Sequence[np.ndarray], temperatures: Sequence[float], thresholds: Sequence[float]
) -> np.ndarray:
    """Returns the step at which each picture leaves, (n,), given the logits of all steps."""
    return _first_sure(_confidences(logits, temperatures), thresholds)


def _confidences(logits: Sequence[np.ndarray], temperatures: Sequence[float]) -> list[np.ndarray]:
    """Returns the confidences (n,) of each step except the last."""
    return [confidence(*pair) for pair in zip(logits[:-1], temperatures, strict=True)]


def _first_sure(sure: Sequence[np.ndarray], thresholds: Sequence[float]) -> np.ndarray:
    """Returns the first step (n,) whose confidence reaches its threshold, else the last step."""
    reached = [one >= threshold for one, threshold in zip(sure, thresholds, strict=True)]
    return np.argmax([*reached, np.ones(len(sure[0]), bool)], axis=0)


def answers(logits: Sequence[np.ndarray], steps: np.ndarray) -> np.ndarray:
    """Returns the logits (n, classes) of the step at which each picture leaves."""
    return np.stack(logits)[steps, np.arange(len(steps))]


def upper_bound(errors: int, pictures: int, delta: float) -> float:
    """Returns Clopper and Pearson's upper bound of a share, valid with probability 1 - delta."""
    if errors >= pictures:
        return 1.0
    return float(stats.beta.ppf(1 - delta, errors + 1, pictures - errors))


def fewest_pictures(epsilon: float, delta: float) -> int:
    """Returns the number of pictures that the guarantee needs if none of them is an error."""
    return math.ceil(math.log(delta) / math.log1p(-epsilon))


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """What each step would answer to each picture, computed once for all thresholds.

    Attributes:
      sure: confidences (n,) of each step except the last.
      is_right: (steps, n), whether the answer of each step is the label.
    """

    sure: Sequence[np.ndarray]
    is_right: np.ndarray


def outcomes_of(
    logits: Sequence[np.ndarray], labels: np.ndarray, temperatures: Sequence[float]
) -> Outcomes:
    """Computes `Outcomes` from the logits (n, classes) of each step."""
    is_right = np.stack([one.argmax(axis=1) == labels for one in logits])
    return Outcomes(_confidences(logits, temperatures), is_right)


def try_threshold(outcomes: Outcomes, threshold: float, delta: float) -> Point:
    """Evaluates one threshold for all steps; see `Point`."""
    last, count = len(outcomes.sure), outcomes.is_right.shape[1]
    steps = _first_sure(outcomes.sure, [threshold] * last)
    is_right = outcomes.is_right[steps, np.arange(count)]
    errors = int(np.count_nonzero((steps < last) & outcomes.is_right[-1] & ~is_right))
    leaving = np.bincount(steps, minlength=last + 1) / count
    return Point(
        threshold,
        tuple(leaving),
        errors / count,
        upper_bound(errors, count, delta),
        float(np.mean(is_right)),
    )


def top1_of(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the share of pictures whose label is predicted, 0..1."""
    return float(np.mean(logits.argmax(axis=1) == labels))


def _check_shapes(logits: Sequence[np.ndarray], labels: np.ndarray) -> None:
    if len(logits) < 2:
        raise ValueError(f"A classifier in steps has at least two. Received: {len(logits)}")
    shapes = [one.shape for one in logits]
    if len(set(shapes)) != 1 or len(shapes[0]) != 2 or shapes[0][0] != len(labels):
        raise ValueError(
            "logits must be (pictures, classes), the same for every step, with a label for each "
            f"picture. Received: {', '.join(map(str, shapes))} and {len(labels)} labels"
        )
