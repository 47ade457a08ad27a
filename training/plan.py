"""Fills the AUTO fields of a configuration from facts about the pictures.

A recipe fits a certain number of steps. The paper's recipe, for a thousand epochs with 2,048
pictures per step, hardly moves a fresh head in the fifty steps that a small folder gives. So the
AUTO fields are chosen by the number of pictures and steps and by the initial weights. A run prints
the reason of each choice. Fields that the user has set stay unchanged.

The choices are based on the figures of `python -m benchmarks.train.finetuning`, in
docs/finetuning.md, and for random weights on those of `imagenette_mini`, in docs/levit_mini.md.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

from levit_lite.cropping import LARGEST_SIDE_WITHOUT_MARGIN
from training.config import Config
from training.config_checks import AUTO

# Batch sizes: powers of two that give an epoch about this many steps.
STEPS_IN_AN_EPOCH = 16
SMALLEST_BATCH, LARGEST_BATCH = 8, 64
# Number of steps in a run, with the smallest and largest number of epochs.
STEPS_TRAINED, EPOCHS_TRAINED = 1_500, (5, 50)
STEPS_RANDOM, EPOCHS_RANDOM = 12_000, (30, 300)
STEPS_QUANTIZED, EPOCHS_QUANTIZED = 400, (2, 50)  # of quantisation-aware training
# Peak learning rate times the channels of the last stage: with Adam, the best rate falls with the
# width of a network. With fewer than FEW_STEPS steps it must be higher, up to MOST_HASTE times.
PEAK_TRAINED, PEAK_RANDOM = 0.15, 0.32
FEW_STEPS, MOST_HASTE = 500, 4.0
HIGHEST_TRAINED, HIGHEST_RANDOM = 1.5e-3, 2e-3
# Factor on the learning rate of a fresh head on trained layers.
HEAD_RATE = 3.0
FEWEST_FOR_STATISTICS = 8  # pictures per step
# Share of BatchNorm's initial statistics, from other pictures, that may remain at the end.
LEFT_OF_STATISTICS, USUAL_MOMENTUM = 0.05, 0.9
# One step in WARMUP_SHARE is warm-up, at most MOST_WARMUP steps.
WARMUP_SHARE, MOST_WARMUP = 50, 500
# The moving average extends over about one step in EMA_SHARE.
EMA_SHARE, LARGEST_EMA_DECAY = 10, 0.9998


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """A strength of augmentation, and the length of run from which it is used.

    Attributes:
      name: its name in the plan's text.
      epochs: smallest number of epochs, which is how often each picture is seen.
      steps: smallest number of steps.
      random_steps: smallest number of steps when training from random weights.
    """

    name: str
    epochs: int
    steps: int
    random_steps: int
    values: dict[str, Any]


NONE = {
    "mixup": 0.0,
    "cutmix": 0.0,
    "rand_augment": None,
    "erasing": 0.0,
    "label_smoothing": 0.1,
    "flip": 0.0,
    "crop_scale": 0.8,
    "crop_padding": 0,
}
LIGHT = {**NONE, "flip": 0.5, "crop_scale": 0.5, "crop_padding": 2}
MEDIUM = {**LIGHT, "mixup": 0.2, "erasing": 0.1, "crop_scale": 0.35}
STRONG = {
    **MEDIUM,
    "mixup": 0.8,
    "cutmix": 1.0,
    "rand_augment": "rand-m9-mstd0.5-inc1",
    "erasing": 0.25,
    "crop_scale": 0.08,
    "crop_padding": 4,
}
# The first of these for which a run is long enough is used.
AUGMENTATIONS = (
    Augmentation("strong", 100, 30_000, 30_000, STRONG),
    Augmentation("medium", 20, 1_000, 3_000, MEDIUM),
    Augmentation("light", 5, 100, 300, LIGHT),
    Augmentation("none", 0, 0, 0, NONE),
)


@dataclasses.dataclass(frozen=True)
class Facts:
    """The facts that a plan is based on.

    Attributes:
      pictures: number of training pictures.
      input_size: (height, width) of the network's input, pixels.
      is_trained: whether the initial weights are trained rather than random.
      is_head_fresh: whether the classification head is initialised at random.
      width: number of channels of the network's last stage, the input of the head.
      is_grey: whether none of the examined pictures has colours.
      multiple: replicas times parts of a batch; the batch must be a multiple of it.
    """

    pictures: int
    input_size: tuple[int, int]
    is_trained: bool
    is_head_fresh: bool
    width: int
    is_grey: bool = False
    multiple: int = 1


@dataclasses.dataclass(frozen=True)
class Choice:
    """A field that a plan has filled: its name, its value, and the reason."""

    field: str
    value: Any
    reason: str

    def __str__(self) -> str:
        """The setting in the notation of `--set`, rounded."""
        value = f"{self.value:.4g}" if isinstance(self.value, float) else str(self.value).lower()
        return f"{self.field}={value}"


@dataclasses.dataclass(frozen=True)
class Plan:
    """A configuration without AUTO fields, and how they were filled.

    Attributes:
      config: the configuration, with every field set.
      steps_per_epoch: optimizer steps per epoch.
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
        for reason, choices in itertools.groupby(self.choices, lambda choice: choice.reason):
            lines.append(f"  {' '.join(map(str, choices))}: {reason}")
        if self.choices:
            lines.append("  --set=FIELD=VALUE sets any of them")
        return "\n".join(lines)


def make_plan(config: Config, facts: Facts) -> Plan:
    """Fills the AUTO fields.

    Args:
      config: the configuration.
      facts: facts about the pictures and the weights.

    Raises:
      ValueError: the user's settings contradict the chosen values.
    """
    return _Planner(config, facts).plan()


class _Planner:
    """Chooses one field after the other, in the order of their dependencies."""

    def __init__(self, config: Config, facts: Facts):
        self.config = config
        self.facts = facts
        self.choices: list[Choice] = []
        self.is_wanted = bool(config.planned)  # a configuration without AUTO fields stays unchanged

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
        """Chooses a power of two that gives enough steps per epoch; at most the picture count."""
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
        if self.config.qat:
            steps, (fewest, most), weights = STEPS_QUANTIZED, EPOCHS_QUANTIZED, "rounded"
        elif self.facts.is_trained:
            steps, (fewest, most), weights = STEPS_TRAINED, EPOCHS_TRAINED, "trained"
        else:
            steps, (fewest, most), weights = STEPS_RANDOM, EPOCHS_RANDOM, "random"
        self._set(
            "epochs",
            min(max(-(-steps // steps_per_epoch), fewest), most),
            f"about {steps:,} steps from {weights} weights, in {fewest} to {most} epochs",
        )

    def _choose_rates(self, steps: int) -> None:
        config, facts = self.config, self.facts
        weights = "trained" if facts.is_trained else "random"
        peak = (PEAK_TRAINED if facts.is_trained else PEAK_RANDOM) / facts.width
        haste = min(max(math.sqrt(FEW_STEPS / steps), 1.0), MOST_HASTE)
        highest = HIGHEST_TRAINED if facts.is_trained else HIGHEST_RANDOM
        peak = float(f"{min(peak * haste, highest):.2g}")
        scale = 1 if config.rate_batch is None else config.rate_batch / config.batch_size
        self._set(
            "learning_rate",
            peak * scale,
            f"the highest, at any batch, for {steps:,} steps from {weights} weights of "
            f"{facts.width} channels",
        )
        is_ahead = facts.is_trained and facts.is_head_fresh
        self._set(
            "head_rate",
            HEAD_RATE if is_ahead else 1.0,
            "the head is fresh, all else is trained" if is_ahead else "the head is like the rest",
        )
        if config.warmup_epochs:
            warmup = config.warmup_epochs * self._steps_per_epoch()
            self._set("warmup_steps", warmup, f"warmup_epochs={config.warmup_epochs}")
        self._set(
            "warmup_steps",
            min(steps // WARMUP_SHARE, MOST_WARMUP),
            f"one in {WARMUP_SHARE} of {steps:,} steps, {MOST_WARMUP} at most",
        )
        decay = min(max(1 - EMA_SHARE / steps, 0.0), LARGEST_EMA_DECAY)
        self._set(
            "ema_decay",
            float(f"{decay:.4f}"),
            f"an average over one in {EMA_SHARE} of {steps:,} steps; the better of it and the raw "
            "weights is shipped"
            if decay
            else f"{steps:,} steps are too few for an average",
        )

    def _choose_network(self, steps: int) -> None:
        reason = "the statistics of these pictures are better than those of others"
        if self.config.qat:
            reason = "quantisation-aware training has no BatchNorm"
        elif not self.facts.is_trained:
            reason = "random weights have no statistics to keep"
        elif self.config.batch_size < FEWEST_FOR_STATISTICS:
            reason = f"{self.config.batch_size} pictures a step are too few for statistics"
        is_frozen = (
            self.facts.is_trained
            and self.config.batch_size < FEWEST_FOR_STATISTICS
            and not self.config.qat
            and not self.config.drop_path
        )
        self._set("freeze_batch_norm", is_frozen, reason)
        momentum = min(USUAL_MOMENTUM, LEFT_OF_STATISTICS ** (1 / steps))
        self._set(
            "batch_norm_momentum",
            float(f"{momentum:.2g}"),
            f"{LEFT_OF_STATISTICS:.0%} of BatchNorm's first statistics is left after {steps:,} "
            "steps, or less",
        )

    def _choose_augmentation(self, steps: int) -> None:
        epochs, is_trained = self.config.epochs, self.facts.is_trained
        chosen = next(
            one
            for one in AUGMENTATIONS
            if epochs >= one.epochs and steps >= (one.steps if is_trained else one.random_steps)
        )
        why = (
            f"augmentation {chosen.name!r}, for {steps:,} steps that see every picture {epochs} "
            f"times, from {'trained' if is_trained else 'random'} weights"
        )
        if max(self.facts.input_size) <= LARGEST_SIDE_WITHOUT_MARGIN:
            self._set("flip", 0.0, "pictures as small as these may be letters or signs")
        elif self.facts.is_grey:
            self._set("flip", 0.0, "pictures without colours may be letters or scans")
        for field, value in chosen.values.items():
            self._set(field, value, why)
