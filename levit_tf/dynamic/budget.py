"""Thresholds that keep to a time, and what accuracy that leaves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from levit_tf.dynamic.calibration import (
    NEVER,
    SEQUENCE,
    Calibration,
    Point,
    split_and_fit,
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
    """The highest threshold that keeps to a time.

    Args:
      logits: see `levit_tf.dynamic.calibration.calibrate`.
      labels: see `levit_tf.dynamic.calibration.calibrate`.
      times: of a picture that each step answers, milliseconds.
      budget: milliseconds.
      statistic: what must not exceed it: one of `STATISTICS`.
      delta: see `levit_tf.dynamic.calibration`.
      seed: see `levit_tf.dynamic.calibration.calibrate`.

    Returns:
      The thresholds, and as epsilon the share that leave early with a wrong answer where the whole
      network is right, at most, with confidence 1 - delta, whichever threshold was chosen.

    Raises:
      ValueError: the budget is no positive number, or nothing keeps to it; the message says what
        would.
    """
    if not budget > 0:
        raise ValueError(f"--budget_ms must be above 0. Received: {budget:g}")
    if statistic not in STATISTICS:
        raise ValueError(f"Expected one of {', '.join(STATISTICS)}. Received: {statistic!r}")
    temperatures, part, counted = split_and_fit(logits, labels, seed)
    # The choice looks at the pictures that are counted, so the bound holds for all thresholds.
    each = delta / (len(SEQUENCE) + 1)
    curve, fastest = [], np.inf
    for threshold in (NEVER, *SEQUENCE):
        point = try_threshold(part, counted, temperatures, threshold, each)
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
            )
    raise ValueError(
        f"--budget_ms={budget:g}: nothing keeps to it: the shortest path takes {min(times):.3g} ms "
        f"on this machine, and the boldest thresholds a {statistic} of {fastest:.3g} ms."
    )


def time_of(point: Point, times: Sequence[float], statistic: str) -> float:
    """Mean or 99th percentile of the time of a picture, milliseconds."""
    if statistic == "mean":
        return float(np.dot(point.leaving, times))
    order = np.argsort(times)
    reached = np.cumsum(np.array(point.leaving)[order]) >= 0.99
    return float(np.array(times)[order][int(np.argmax(reached))])
