"""What a training run is made of: one frozen dataclass, its checks, and `--set=field=value`.

Defaults are the official recipe (main.py of facebookresearch/LeViT) where it has the field.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import math
import pkgutil
import typing
from collections.abc import Iterable

from levit_tf.variants import get_variant

DATASETS = ("digits",)


@dataclasses.dataclass(frozen=True)
class Config:
    """The fields of a run.

    Attributes:
      dataset: name of the pictures, one of `DATASETS`.
      variant: name of the network, one of `levit_tf.list_variants()`.
      epochs: passes over the training pictures.
      batch_size: pictures in a step, over all replicas together.
      learning_rate: highest rate, for a batch of 512; it grows in proportion to the batch.
      warmup_epochs: epochs of linear growth from `warmup_learning_rate` to the highest rate.
      warmup_learning_rate: rate of the first epoch, whatever the batch.
      min_learning_rate: rate at the end of the cosine, whatever the batch.
      weight_decay: AdamW's, multiplied by the rate; not on biases, BatchNorm and attention biases.
      label_smoothing: probability spread evenly over all classes.
      crop_padding: black pixels on each side, out of which a random crop of the original size is
        taken; 0 for no augmentation. The recipe for pictures of 32 pixels has 4 (datasets.py).
      seed: of the initial weights, the order of the pictures and the augmentation.
    """

    dataset: str = "digits"
    variant: str = "LeViTTiny"
    epochs: int = 1000
    batch_size: int = 256
    learning_rate: float = 5e-4
    warmup_epochs: int = 5
    warmup_learning_rate: float = 1e-6
    min_learning_rate: float = 1e-5
    weight_decay: float = 0.025
    label_smoothing: float = 0.1
    crop_padding: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dataset not in DATASETS:
            raise ValueError(f"dataset must be one of {DATASETS}. Received: {self.dataset!r}")
        get_variant(self.variant)  # raises for an unknown one
        for field in ("epochs", "batch_size"):
            self._check(field, getattr(self, field) >= 1, "at least 1")
        for field in ("crop_padding", "seed", "warmup_epochs"):
            self._check(field, getattr(self, field) >= 0, "at least 0")
        for field in ("learning_rate", "warmup_learning_rate", "min_learning_rate", "weight_decay"):
            value = getattr(self, field)
            self._check(field, math.isfinite(value) and value >= 0, "at least 0 and finite")
        self._check("label_smoothing", 0 <= self.label_smoothing < 1, "in [0, 1)")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs must be fewer than epochs. Received: {self.warmup_epochs} and "
                f"{self.epochs}"
            )

    def _check(self, field: str, valid: bool, expected: str) -> None:
        if not valid:
            raise ValueError(f"{field} must be {expected}. Received: {getattr(self, field)!r}")

    @property
    def peak_learning_rate(self) -> float:
        """The highest rate for this batch size (main.py: `lr * batch_size / 512`)."""
        return self.learning_rate * self.batch_size / 512

    def __str__(self) -> str:
        fields = dataclasses.asdict(self)
        width = max(map(len, fields))
        return "\n".join(f"{name:{width}} {value}" for name, value in fields.items())


def override(config: Config, settings: Iterable[str]) -> Config:
    """Changes fields, as `--set` does.

    Args:
      config: the configuration to start from.
      settings: each "field=value".

    Returns:
      A new configuration.

    Raises:
      ValueError: not of this form, an unknown field (the message names the nearest), or a value of
        another type or out of range.
    """
    types = typing.get_type_hints(Config)
    values = {}
    for setting in settings:
        field, separator, text = setting.partition("=")
        if not separator:
            raise ValueError(f"--set takes field=value. Received: {setting!r}")
        if field not in types:
            raise ValueError(
                f"--set: unknown field {field!r}.{_nearest(field, types)} Known: "
                f"{', '.join(types)}."
            )
        try:
            values[field] = types[field](text)
        except ValueError as error:
            raise ValueError(
                f"--set: {field} is {_ARTICLES[types[field]]}. Received: {text!r}"
            ) from error
    return dataclasses.replace(config, **values)


_ARTICLES = {int: "an integer", float: "a number"}


def load_config(name: str) -> Config:
    """Loads a configuration of `training.configs` by name.

    Raises:
      ValueError: there is none of this name; the message lists them.
    """
    from training import configs

    known = sorted(module.name for module in pkgutil.iter_modules(configs.__path__))
    if name not in known:
        raise ValueError(
            f"Unknown config {name!r}.{_nearest(name, known)} Known: {', '.join(known)}."
        )
    return importlib.import_module(f"training.configs.{name}").CONFIG


def _nearest(name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""
