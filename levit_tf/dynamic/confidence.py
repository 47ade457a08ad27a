"""How sure a step is of its answer, and the temperature that makes this a probability.

Source: temperature scaling, arXiv 1706.04599.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import optimize

from levit_common.arrays import softmax

_TEMPERATURES = (0.05, 20.0)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the temperature with the highest likelihood of the labels (arXiv 1706.04599)."""
    if len(labels) == 0:
        return 1.0
    logits = logits.astype(np.float64)

    def loss(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        normaliser = np.log(np.exp(scaled).sum(axis=1))
        return float(np.mean(normaliser - scaled[np.arange(len(labels)), labels]))

    bounds = tuple(map(math.log, _TEMPERATURES))
    return math.exp(optimize.minimize_scalar(loss, bounds=bounds, method="bounded").x)


def confidence(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Returns the highest class probability, (n,), for logits (n, classes)."""
    return softmax(logits.astype(np.float32) / np.float32(temperature)).max(axis=1)


def expected_calibration_error(
    logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0, bins: int = 15
) -> float:
    """Returns the mean difference of confidence and accuracy over equal confidence bins, 0..1."""
    sure = confidence(logits, temperature)
    right = logits.argmax(axis=1) == labels
    places = np.minimum((sure * bins).astype(int), bins - 1)
    gaps = [abs((sure - right)[places == place].sum()) for place in range(bins)]
    return float(sum(gaps) / len(labels))
