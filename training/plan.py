"""Fills the fields of a configuration that nobody has set, by what is known of the pictures.

A recipe belongs to a number of steps: that of the paper, for a thousand epochs of 2,048 pictures a
step, moves a fresh head by nothing in the fifty steps that a small folder has. So the fields that
are AUTO are chosen by how many pictures and steps there are, and by what the weights begin with;
each with a reason, which a run prints. What is set stays as it is set.

The figures behind the choices are those of `python -m benchmarks.finetuning`; docs/finetuning.md
has them.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from training.config import Config
from training.config_checks import AUTO

# Batches: powers of two, such that an epoch has about so many steps.
STEPS_IN_AN_EPOCH = 16
SMALLEST_BATCH, LARGEST_BATCH = 8, 64
# Steps of a run, and the fewest and most epochs.
STEPS_TRAINED, EPOCHS_TRAINED = 1_500, (5, 50)
STEPS_RANDOM, EPOCHS_RANDOM = 20_000, (30, 300)
PEAK_TRAINED, PEAK_RANDOM = 1e-3, 2e-3
HEAD_RATE = 3.0
# A warm-up of one step in so many, and the most.
WARMUP_SHARE, MOST_WARMUP = 20, 500
EMA_SHARE, LARGEST_EMA_DECAY = 10, 0.9998
LIGHT = {
    "mixup": 0.0,
    "cutmix": 0.0,
    "rand_augment": None,
    "erasing": 0.0,
    "label_smoothing": 0.0,
    "flip": 0.0,
    "crop_scale": 0.7,
    "crop_padding": 2,
}


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a plan goes by.

    Attributes:
      pictures: number of training pictures.
      classes: number of classes.
      input_size: (height, width) that the network takes, pixels.
      is_trained: whether the network begins with trained weights, not with random ones.
      is_head_fresh: whether the classification head begins at random.
      multiple: replicas times the parts of a batch: what the batch must be a multiple of.
    """

    pictures: int
    classes: int
    input_size: tuple[int, int]
    is_trained: bool
    is_head_fresh: bool
    multiple: int = 1


@dataclasses.dataclass(frozen=True)
class Choice:
    """A field that a plan has filled: its name, its value, and why."""

    field: str
    value: Any
    reason: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """A configuration without gaps, and how they were filled.

    Attributes:
      config: with every field set.
      steps_per_epoch: optimizer steps.
      choices: one for each field that was AUTO, and for a batch that was too large.
    """

    config: Config
    steps_per_epoch: int
    choices: tuple[Choice, ...] = ()

    def __str__(self) -> str:
        config, steps = self.config, self.steps_per_epoch
        lines = [
            f"plan: {steps:,} steps an epoch, {steps * config.epochs:,} in all ({config.epochs} "
            f"epochs, {config.batch_size} pictures a step)"
        ]
        for choice in self.choices:
            value = f"{choice.value:.3g}" if isinstance(choice.value, float) else choice.value
            lines.append(f"  {choice.field}={str(value).lower()}: {choice.reason}")
        if self.choices:
            lines.append("  --set=FIELD=VALUE sets any of them")
        return "\n".join(lines)


def make_plan(config: Config, facts: Facts) -> Plan:
    """Fills the fields that are AUTO.

    Args:
      config: the configuration.
      facts: what is known of the pictures and the weights.

    Raises:
      ValueError: the fields that are set contradict what was chosen for the others.
    """
    return _Planner(config, facts).plan()


class _Planner:
    """Chooses one field after the other, in the order in which they depend on one another."""

    def __init__(self, config: Config, facts: Facts):
        self.config = config
        self.facts = facts
        self.choices: list[Choice] = []
        self.is_wanted = bool(config.planned)  # a configuration without gaps stays as it is

    def plan(self) -> Plan:
        if not self.is_wanted:
            return Plan(self.config, self._steps_per_epoch())
        self._choose_batch()
        steps = self._steps_per_epoch()
        self._choose_epochs(steps)
        total = steps * self.config.epochs
        self._choose_rates(total)
        self._choose_network(total)
        self._choose_augmentation(total)
        return Plan(self.config, steps, tuple(self.choices))

    def _set(self, field: str, value: Any, reason: str) -> None:
        """Fills a field if it is AUTO."""
        if getattr(self.config, field) is AUTO:
            self._replace(field, value, reason)

    def _replace(self, field: str, value: Any, reason: str) -> None:
        self.config = dataclasses.replace(self.config, **{field: value})
        self.choices.append(Choice(field, value, reason))

    def _steps_per_epoch(self) -> int:
        pictures, batch = self.facts.pictures, self.config.batch_size
        return -(-pictures // batch) if self.config.fill_batches else pictures // batch

    def _choose_batch(self) -> None:
        """A power of two that leaves an epoch enough steps; never more than there are pictures."""
        pictures, multiple = self.facts.pictures, self.facts.multiple
        if pictures < multiple:
            raise ValueError(
                f"{pictures} training pictures cannot fill a batch: replicas * accumulate is "
                f"{multiple}. Add pictures, or take fewer of them."
            )
        largest = pictures // multiple * multiple
        wanted = 2 ** int(math.log2(max(pictures / STEPS_IN_AN_EPOCH, 1)))
        wanted = min(max(wanted, SMALLEST_BATCH), LARGEST_BATCH)
        wanted = min(-(-wanted // multiple) * multiple, largest)
        self._set(
            "batch_size",
            wanted,
            f"from {SMALLEST_BATCH} to {LARGEST_BATCH}, about {STEPS_IN_AN_EPOCH} steps an epoch "
            f"with {pictures:,} pictures",
        )
        if self.config.batch_size > pictures:
            asked = self.config.batch_size
            self._replace("batch_size", largest, f"{asked} were asked for; there are {pictures}")

    def _choose_epochs(self, steps_per_epoch: int) -> None:
        trained = self.facts.is_trained
        steps = STEPS_TRAINED if trained else STEPS_RANDOM
        fewest, most = EPOCHS_TRAINED if trained else EPOCHS_RANDOM
        self._set(
            "epochs",
            min(max(-(-steps // steps_per_epoch), fewest), most),
            f"about {steps:,} steps from {'trained' if trained else 'random'} weights, in {fewest} "
            f"to {most} epochs",
        )

    def _choose_rates(self, steps: int) -> None:
        config, trained = self.config, self.facts.is_trained
        peak = PEAK_TRAINED if trained else PEAK_RANDOM
        rate = peak
        if config.rate_batch is not None:
            rate = peak * config.rate_batch / config.batch_size
        self._set(
            "learning_rate",
            rate,
            f"{peak:g} at its highest, for {'trained' if trained else 'random'} weights, whatever "
            "the batch",
        )
        self._set(
            "head_rate",
            HEAD_RATE if trained and self.facts.is_head_fresh else 1.0,
            "the head is fresh, the rest is trained"
            if trained and self.facts.is_head_fresh
            else "the head begins as the rest does",
        )
        if config.warmup_epochs:
            warmup = config.warmup_epochs * self._steps_per_epoch()
            self._set("warmup_steps", warmup, f"warmup_epochs={config.warmup_epochs}")
        self._set(
            "warmup_steps",
            min(steps // WARMUP_SHARE, MOST_WARMUP),
            f"one in {WARMUP_SHARE} of {steps:,} steps, {MOST_WARMUP} at most",
        )
        self._set(
            "ema_decay",
            min(max(1 - EMA_SHARE / steps, 0.0), LARGEST_EMA_DECAY),
            f"an average over about a tenth of {steps:,} steps; the better of raw and averaged "
            "weights is shipped",
        )

    def _choose_network(self, steps: int) -> None:
        if self.config.qat:
            self._set("freeze_batch_norm", False, "quantisation-aware training has none")
        elif not self.facts.is_trained:
            self._set("freeze_batch_norm", False, "random weights have no statistics to keep")
        else:
            self._set("freeze_batch_norm", False, "the statistics of these pictures are better")

    def _choose_augmentation(self, steps: int) -> None:
        for field, value in LIGHT.items():
            self._set(field, value, f"{steps:,} steps")
