"""Fits a new head on a frozen network: features once, then a logistic regression.

This is called a "linear probe" in the literature. A laptop does it in a minute, where fine-tuning
takes an hour.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit

from levit_common.files import atomic_path
from levit_lite.opening.archives import DAMAGE
from levit_tf.applications import load_by_name
from levit_tf.heads import pooled_features, reset_classifier
from levit_tf.keras_graph.introspection import classifier_of
from training.data import Dataset
from training.networks.initial import check_input_range

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)  # inverse regularisation strengths to try
_WITHOUT_CHOICE = 0.1
_HELD_BACK = 0.2  # share of the training pictures held back for this choice
_ITERATIONS = 1000
_TOLERANCE = 1e-4
_TOLERANCE_OF_CHOICE = 1e-3  # a third of the time, and the same ranking of strengths
_KEY = "made_with"
_ENDS = 1024  # bytes at either end of a file of features that have the names of its arrays


@dataclasses.dataclass(frozen=True)
class Features:
    """The features that a network computes for pictures, which are the input of its head.

    Attributes:
      train: (n, channels) float32.
      train_labels: (n,) integers, labels of the training pictures.
      test: features of the held-out pictures.
      test_labels: labels of the held-out pictures.
    """

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Fit:
    """A linear classifier on standardised features.

    Attributes:
      mean: (channels,), mean of the features.
      variance: (channels,), variance of the features.
      kernel: (channels, classes).
      bias: (classes,).
      strength: inverse strength of the regularisation, as in `LogisticRegression`.
      why: how the strength was chosen.
    """

    mean: np.ndarray
    variance: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray
    strength: float
    why: str

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Computes logits (n, classes) from features (n, channels)."""
        return (features - self.mean) / np.sqrt(self.variance) @ self.kernel + self.bias


def load_backbone(model: str) -> keras.Model:
    """Loads a LeViT in train form: from a file, a run's folder or the hub, or by variant.

    Raises:
      FileNotFoundError, ImportError, PermissionError, ConnectionError: see
        `levit_tf.applications.load_by_name`.
      ValueError: it is not a LeViT in train form, or takes pictures that are normalised otherwise.
    """
    found = load_by_name(model, train_form=True)
    check_input_range(found, model)
    return found


def feature_model(model: keras.Model) -> keras.Model:
    """Makes a model from normalised images to the head's input, (batch, channels)."""
    return keras.Model(model.input, pooled_features(model))


def compute_features(
    model: keras.Model, data: Dataset, batch: int, cache: Path | None = None
) -> tuple[Features, bool]:
    """Computes the features of all training and held-out pictures, by the evaluation protocol.

    Args:
      model: a result of `load_backbone`.
      data: pictures of the model's input size, with a training and a held-out part.
      batch: number of pictures in memory at once.
      cache: `.npz` file to read the features from, or to write them to; None for no file.

    Returns:
      The features, and whether they were read from the file.

    Raises:
      FileExistsError: the file is not one that this function has written.
    """
    network = feature_model(model)
    key = _key(network, data)
    if cache is not None and cache.exists() and not _is_ours(cache):
        raise FileExistsError(
            f"{cache}: holds no features of an earlier call, and is not replaced: give another."
        )
    if cache is not None and (found := _read(cache, key)):
        return found, True
    compute = tf.function(
        lambda images: network(images, training=False), reduce_retracing=True, autograph=False
    )
    parts = []
    for part in ("training", "held-out"):
        batches = [(compute(x).numpy(), y) for x, y in data.test_dataset(batch=batch, part=part)]
        parts += [
            np.concatenate(arrays).astype(t)
            for arrays, t in zip(zip(*batches, strict=True), (np.float32, np.int64), strict=True)
        ]
    found = Features(*parts)
    if cache is not None:
        with atomic_path(cache, overwrite=True) as temporary:
            np.savez(temporary, **{_KEY: np.array(key)}, **dataclasses.asdict(found))
    return found, False


def fit(
    features: Features, classes: Sequence[str], strength: float | None = None, seed: int = 0
) -> Fit:
    """Fits a logistic regression.

    Args:
      features: the features; those of the held-out pictures are not used.
      classes: names of the classes.
      strength: inverse strength of the regularisation; None to choose it by validation on a fifth
        of the training pictures.
      seed: seed of that split.

    Raises:
      ValueError: there are fewer than two classes, or a class has no pictures.
    """
    counts = np.bincount(features.train_labels, minlength=len(classes))
    if len(classes) < 2:
        raise ValueError(f"One class, {classes[0]!r}: a classifier needs two. Add a folder.")
    if empty := [name for name, count in zip(classes, counts, strict=True) if not count]:
        raise ValueError(f"class {empty[0]!r}: no training picture of it can be read.")
    mean, variance = features.train.mean(axis=0), features.train.var(axis=0) + 1e-5
    x = (features.train - mean) / np.sqrt(variance)
    y = features.train_labels
    if strength is not None:
        why = "as asked for"
    elif counts.min() * _HELD_BACK < 1:
        strength = _WITHOUT_CHOICE
        why = f"{counts.min()} pictures of a class are too few to choose by"
    else:
        split = StratifiedShuffleSplit(1, test_size=_HELD_BACK, random_state=seed)
        kept, held = next(split.split(x, y))
        regression = _regression(_TOLERANCE_OF_CHOICE)
        scores = []
        for c in STRENGTHS:  # each starts from the solution with stronger regularisation
            scores.append((_fitted(regression, c, x[kept], y[kept]).score(x[held], y[held]), c))
        best = max(score for score, _ in scores)
        strength = min(c for score, c in scores if score == best)
        why = f"{100 * best:.1f} % of {len(held)} training pictures that were held back for it"
    found = _fitted(_regression(_TOLERANCE), strength, x, y)
    kernel, bias = found.coef_.T, found.intercept_
    if len(classes) == 2:  # one column, for the second class
        kernel = np.concatenate([-kernel / 2, kernel / 2], axis=1)
        bias = np.concatenate([-bias / 2, bias / 2])
    return Fit(mean, variance, kernel, bias, strength, why)


def with_head(model: keras.Model, found: Fit, class_names: Sequence[str]) -> keras.Model:
    """Returns the network with the fitted head instead of its own, sharing the layers below."""
    new = reset_classifier(model, list(class_names), heads="single")
    head = classifier_of(new).head
    # BatchNorm standardises the features, as it does in a trained head.
    epsilon = head.bn.epsilon
    ones, zeros = np.ones_like(found.mean), np.zeros_like(found.mean)
    values = {
        "gamma": ones,
        "beta": zeros,
        "moving_mean": found.mean,
        "moving_variance": found.variance - epsilon,
        "kernel": found.kernel,
        "bias": found.bias,
    }
    for weight in head.weights:
        weight.assign(values[weight.path.rsplit("/", 1)[1]])
    return new


def _regression(tolerance: float) -> LogisticRegression:
    return LogisticRegression(max_iter=_ITERATIONS, tol=tolerance, warm_start=True)


def _fitted(
    regression: LogisticRegression, strength: float, x: np.ndarray, y: np.ndarray
) -> LogisticRegression:
    with warnings.catch_warnings():
        # A head that is not quite at its optimum is as good, and its top-1 is measured anyway.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return regression.set_params(C=strength).fit(x, y)


def _key(network: keras.Model, data: Dataset) -> str:
    whole = hashlib.sha256(repr(data.input_size).encode())
    for part in data.parts.values():
        whole.update(part.fingerprint.encode())
    for weight in network.weights:
        whole.update(np.ascontiguousarray(weight).tobytes())
    return whole.hexdigest()


def _is_ours(cache: Path) -> bool:
    """Whether a file was written here: its names are at its start, and also at an intact end."""
    with open(cache, "rb") as file:
        start = file.read(_ENDS)
        file.seek(max(os.path.getsize(cache) - _ENDS, 0))
        return f"{_KEY}.npy".encode() in start + file.read()


def _read(cache: Path, key: str) -> Features | None:
    try:
        with open(cache, "rb") as file, np.load(file, allow_pickle=False) as archive:
            if str(archive[_KEY]) != key:
                return None
            return Features(**{f.name: archive[f.name] for f in dataclasses.fields(Features)})
    except (*DAMAGE, ValueError, KeyError):
        return None
