"""Chooses confidence thresholds that keep to a time budget, and bounds the loss of accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from levit_tf.dynamic.calibration import (
    NEVER,
    SEQUENCE,
    Calibration,
    Point,
    outcomes_of,
    split_and_fit,
    top1_of,
    try_threshold,
)

STATISTICS = ("mean", "p99")


def within_budget(
    logits: Sequence[np.ndarray],
    labels: np.ndarray,
    times: Sequence[float],
    budget: float,
    *,
    statistic: str = "mean",
    delta: float = 0.1,
    seed: int = 0,
) -> Calibration:
    """Chooses the highest threshold that keeps to a time budget.

    Args:
      logits: see `levit_tf.dynamic.calibration.calibrate`.
      labels: see `levit_tf.dynamic.calibration.calibrate`.
      times: for each step, the time of a picture that leaves there, in milliseconds.
      budget: time per picture in milliseconds.
      statistic: statistic of the times that must not exceed the budget, one of `STATISTICS`.
      delta: see `levit_tf.dynamic.calibration`.
      seed: see `levit_tf.dynamic.calibration.calibrate`.

    Returns:
      The thresholds. Its epsilon is an upper bound of the share of pictures that leave early with a
      wrong class although the whole network is right; it holds with confidence 1 - delta,
      whichever threshold is chosen.

    Raises:
      ValueError: the budget is not a positive number, or no threshold keeps to it; the message says
        which budget is possible.
    """
    if not budget > 0:
        raise ValueError(f"--budget_ms must be above 0. Received: {budget:g}")
    if statistic not in STATISTICS:
        raise ValueError(f"Expected one of {', '.join(STATISTICS)}. Received: {statistic!r}")
    temperatures, part, counted = split_and_fit(logits, labels, seed)
    # The threshold is chosen on the pictures that the bound counts: bound all thresholds at once.
    each = delta / (len(SEQUENCE) + 1)
    outcomes = outcomes_of(part, counted, temperatures)
    curve, fastest = [], np.inf
    for threshold in (NEVER, *SEQUENCE):
        point = try_threshold(outcomes, threshold, each)
        curve.append(point)
        taken = time_of(point, times, statistic)
        fastest = min(fastest, taken)
        if taken <= budget:
            return Calibration(
                temperatures,
                (threshold,) * len(temperatures),
                point.bound,
                delta,
                len(counted),
                tuple(curve),
                top1_of(part[-1], counted),
            )
    raise ValueError(
        f"--budget_ms={budget:g}: nothing keeps to it: the shortest path takes {min(times):.3g} ms "
        f"on this machine, and the boldest thresholds a {statistic} of {fastest:.3g} ms."
    )


def time_of(point: Point, times: Sequence[float], statistic: str) -> float:
    """Returns the mean or the 99th percentile of the time per picture, in milliseconds."""
    if statistic == "mean":
        return float(np.dot(point.leaving, times))
    order = np.argsort(times)
    reached = np.cumsum(np.array(point.leaving)[order]) >= 0.99
    return float(np.array(times)[order][int(np.argmax(reached))])
