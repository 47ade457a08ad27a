"""What a training run is made of: one frozen dataclass, whose defaults are the official recipe.

Source: main.py of facebookresearch/LeViT. Values are checked in `training.config_checks`. A field
that is AUTO is filled by `training.plan`, once the pictures are known.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from levit_common.spelling import did_you_mean
from training import config_checks
from training.config_checks import AUTO, Auto

__all__ = ["AUTO", "Auto", "Config", "config_names", "load_config", "override"]


@dataclasses.dataclass(frozen=True)
class Config:
    """The fields of a run.

    Those whose type has `Auto` may be left to `training.plan`: `--set=epochs=auto`.

    Attributes:
      dataset: "digits", the name of a TFDS set, or "imagefolder:PATH"; see `training.data`.
      split_train: TFDS split to train on; None for the set's own training part.
      split_test: TFDS split held out; None for the set's own.
      strict: whether a picture that cannot be read stops the run, instead of being left out.
      variant: name of the network, one of `levit_tf.list_variants()`.
      input_size: (height, width) of the pictures, pixels; None for the variant's own.
      drop_path: probability of dropping a residual branch; None for the variant's own.
      init_from: what the weights begin with: None for random ones, "imagenet" for the released
        ones, or a `.keras` or `.weights.h5` file of the same variant. Heads for other classes begin
        at random, attention biases of another size are resized.
      qat: quantisation-aware training for a recipe of `converters.to_tflite`: "int8" or
        "int8_full"; None for a float network. It begins with the trained network of `init_from`, a
        `.keras` file in train or deploy form, or "imagenet"; and that is the teacher where
        `teacher` names none. --set=qat=true is int8.
      exits: branches that answer early, "0:attention,1:pool": a stage, or a block as in "0.1", and
        the kind of the branch behind it (`levit_tf.dynamic.exits.add_exits`), which learn while the
        trained network of `init_from` stays to the bit what it was; None for none. They learn the
        labels, what `distillation` says, and what the whole network answers.
      exits_end_to_end: whether the network learns along with its exits.
      exits_weight: weight of each exit's loss then; the whole network has 1.
      exits_alpha: share of an exit's loss that is its distance from the whole network's answer.
      freeze_batch_norm: whether the network is in inference mode while it learns: moving statistics
        in BatchNorm, no drop_path. The official code fine-tunes so.
      batch_norm_momentum: share of BatchNorm's moving statistics that a step keeps; 0.9 is what
        PyTorch calls 0.1.
      epochs: passes over the training pictures; the cosine is as long.
      cooldown_epochs: further epochs at `min_learning_rate`. The official code passes 10 to timm's
        scheduler, which makes no use of them, and trains for `epochs`.
      batch_size: pictures in a step, over all replicas together. The official command has 8
        processes of 256.
      accumulate: parts of each replica's batch that go through the network one after the other, to
        save memory.
      fill_batches: whether an epoch's last batch is filled up with pictures that the epoch has had,
        rather than left out.
      learning_rate: highest rate, for a batch of `rate_batch`.
      rate_batch: the batch at which the rate is `learning_rate`, with which it grows in proportion;
        None for the same rate at every batch.
      head_rate: factor by which the classification heads learn faster than the other layers.
      warmup_epochs: epochs of linear growth from `warmup_learning_rate` to the highest rate.
      warmup_steps: the same in steps, after which the cosine falls from step to step; None for the
        official schedule, in which the rate changes from epoch to epoch.
      warmup_learning_rate: where the growth begins, whatever the batch.
      min_learning_rate: rate at the end of the cosine, whatever the batch.
      weight_decay: AdamW's, multiplied by the rate; not on biases, BatchNorm and attention biases.
      clip_factor: adaptive gradient clipping: largest norm of a unit's gradient, as a share of the
        norm of its weights; 0 for none.
      ema_decay: share of the old weights that their moving average keeps in a step; 0 for no
        average.
      ema_warmup: whether it keeps less in the first steps, at most (1 + step) / (10 + step), so
        that the initial weights do not stay in the average of a short run.
      distillation: "none", "soft" or "hard": what the distillation head learns from the teacher.
        With "none" the network has one head, as in the official code.
      distillation_alpha: weight of the teacher in the loss; the labels have the rest.
      distillation_tau: temperature of soft distillation.
      teacher: file of the teacher; see `training.teachers.teacher.load_teacher`.
      teacher_preprocessing: what the teacher's images hold, where its file does not say it: one of
        `levit_tf.preprocessing.INPUT_RANGES`, or MEAN/STD of pixels 0..255, such as "127/128".
      teacher_classes: file that says which of the teacher's classes are the student's, where their
        names do not; see `training.teachers.classes.class_map`.
      teacher_top: how many of the teacher's highest logits count; the others share evenly what
        probability is left. None for all of them.
      teacher_cache: folder of the teacher's answers: it is asked once about each picture of the
        first epochs, before the training, and any run with the same pictures reads them.
      distinct_epochs: epochs after which order, augmentation and mixing of the pictures repeat, so
        that a teacher_cache has to hold no more; None for never.
      trust_teacher: whether a teacher that is a SavedModel may have operations that read or write
        files or run Python.
      label_smoothing: probability spread evenly over all classes.
      mixup: alpha of mixup's beta distribution; 0 for no mixup.
      cutmix: alpha of CutMix's; 0 for no CutMix.
      mixing_probability: of mixing a batch at all.
      cutmix_probability: of CutMix rather than mixup, where both are on.
      rand_augment: RandAugment in timm's notation, "rand-m9-mstd0.5-inc1"; None for none. Colour
        jitter, which the official code sets as well, has no effect beside it and does not exist.
      erasing: probability of random erasing.
      flip: probability of exchanging left and right.
      crop_scale: least share of a picture's area that a random crop keeps. For inputs above 32
        pixels.
      crop_padding: pixels of border for the random shift that takes the crop's place for inputs of
        up to 32 pixels.
      repeats: repeated augmentation: copies of a picture in the list of an epoch.
      precision: "float32", "bfloat16" or "float16", the last with loss scaling.
      jit_compile: whether XLA compiles the step; for one replica. A TPU always does.
      seed: of the initial weights, the order of the pictures and all random draws.
      eval_epochs: epochs between evaluations on held-out pictures; the last is always evaluated.
      checkpoint_epochs: epochs between checkpoints; after the last there is always one.
      checkpoint_steps: steps between checkpoints within an epoch; 0 for none.
      keep_checkpoints: how many of the last checkpoints are kept, beside the best.
    """

    dataset: str = "imagenet2012"
    split_train: str | None = None
    split_test: str | None = None
    strict: bool = False
    variant: str = "LeViT256"
    input_size: tuple[int, int] | None = None
    drop_path: float | None = None
    init_from: str | None = None
    qat: str | None = None
    exits: str | None = None
    exits_end_to_end: bool = False
    exits_weight: float = 0.3
    exits_alpha: float = 0.5
    freeze_batch_norm: bool | Auto = False
    batch_norm_momentum: float | Auto = 0.9
    epochs: int | Auto = 1000
    cooldown_epochs: int = 0
    batch_size: int | Auto = 2048
    accumulate: int = 1
    fill_batches: bool = False
    learning_rate: float | Auto = 5e-4
    rate_batch: int | None = 512
    head_rate: float | Auto = 1.0
    warmup_epochs: int = 5
    warmup_steps: int | Auto | None = None
    warmup_learning_rate: float = 1e-6
    min_learning_rate: float = 1e-5
    weight_decay: float = 0.025
    clip_factor: float = 0.01
    ema_decay: float | Auto = 0.99996
    ema_warmup: bool = True
    distillation: str = "none"
    distillation_alpha: float = 0.5
    distillation_tau: float = 1.0
    teacher: str | None = None
    teacher_preprocessing: str | None = None
    teacher_classes: str | None = None
    teacher_top: int | None = None
    teacher_cache: str | None = None
    distinct_epochs: int | None = None
    trust_teacher: bool = False
    label_smoothing: float | Auto = 0.1
    mixup: float | Auto = 0.8
    cutmix: float | Auto = 1.0
    mixing_probability: float = 1.0
    cutmix_probability: float = 0.5
    rand_augment: str | Auto | None = "rand-m9-mstd0.5-inc1"
    erasing: float | Auto = 0.25
    flip: float | Auto = 0.5
    crop_scale: float | Auto = 0.08
    crop_padding: int | Auto = 4
    repeats: int = 3
    precision: str = "float32"
    jit_compile: bool = False
    seed: int = 0
    eval_epochs: int = 1
    checkpoint_epochs: int = 1
    checkpoint_steps: int = 0
    keep_checkpoints: int = 3

    def __post_init__(self) -> None:
        config_checks.check_types(self)
        config_checks.check_values(vars(self))
        config_checks.check_combinations(self)
        config_checks.check_network(self)

    @property
    def peak_learning_rate(self) -> float:
        """The highest rate for this batch size (main.py: `lr * batch_size / 512`)."""
        if self.rate_batch is None:
            return self.learning_rate
        return self.learning_rate * self.batch_size / self.rate_batch

    @property
    def planned(self) -> list[str]:
        """Names of the fields that are left to `training.plan`."""
        fields = (field.name for field in dataclasses.fields(self))
        return [name for name in fields if getattr(self, name) is AUTO]

    @property
    def total_epochs(self) -> int:
        """Epochs of the run, the cool-down included."""
        return self.epochs + self.cooldown_epochs

    def __str__(self) -> str:
        fields = dataclasses.asdict(self)
        width = max(map(len, fields))
        return "\n".join(f"{name:{width}} {value!s}" for name, value in fields.items())


def override(config: Any, settings: Iterable[str]) -> Any:
    """Changes fields, as `--set` does.

    Args:
      config: the configuration to start from, a `Config` or one of another kind of run.
      settings: see `parse_settings`.

    Returns:
      A new configuration.

    Raises:
      ValueError: as `parse_settings`, or the fields do not go together.
    """
    return dataclasses.replace(config, **parse_settings(settings, type(config)))


def parse_settings(settings: Iterable[str], kind: type = Config) -> dict[str, Any]:
    """Reads the values of `--set`, without Keras.

    Args:
      settings: each "field=value"; "none" for None, "auto" for what `training.plan` chooses, a size
        as "224" or "224x320". "init" is short for "init_from".
      kind: the dataclass whose fields they are.

    Returns:
      Field -> value.

    Raises:
      ValueError: not of this form, an unknown field (the message names the nearest), or a value of
        another type or out of range.
    """
    known = [field.name for field in dataclasses.fields(kind)]
    values = {}
    for setting in settings:
        field, separator, text = setting.partition("=")
        field = "init_from" if field == "init" else field
        if not separator:
            raise ValueError(f"--set takes field=value. Received: {setting!r}")
        if field not in known:
            raise ValueError(
                f"--set: unknown field {field!r}.{did_you_mean(field, known)} Known: "
                f"{', '.join(known)}."
            )
        values[field] = config_checks.parse(kind, field, text)
    config_checks.check_values(values)
    return values


def load_config(name: str) -> Any:
    """Loads a configuration of `training.configs` by name: a `Config`, or that of another task.

    Raises:
      ValueError: there is none of this name; the message lists them.
    """
    check_config_name(name)
    return importlib.import_module(f"training.configs.{name}").CONFIG


def check_config_name(name: str) -> None:
    """Raises ValueError if there is no configuration of this name; the message lists them."""
    known = config_names()
    if name not in known:
        raise ValueError(
            f"Unknown config {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}."
        )


def config_names() -> list[str]:
    """Names of all configurations."""
    # By its path: those modules import this one.
    folder = Path(__file__).with_name("configs")
    return sorted(module.name for module in pkgutil.iter_modules([str(folder)]))
