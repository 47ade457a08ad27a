"""The configuration of a training run: a frozen dataclass whose defaults are the official recipe.

Source: main.py of facebookresearch/LeViT. `training.config_checks` checks the values. Once the
pictures are known, `training.plan` fills the fields that are AUTO.
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
    """The fields of a training run's configuration.

    Fields whose type includes `Auto` may be left to `training.plan`: `--set=epochs=auto`.

    Attributes:
      dataset: "digits", the name of a TFDS set, or "imagefolder:PATH"; see `training.data`.
      split_train: TFDS split to train on; None for the data set's own training part.
      split_test: TFDS split to hold out; None for the data set's own.
      strict: whether an unreadable picture stops the run instead of being skipped.
      variant: name of the network, one of `levit_tf.list_variants()`.
      input_size: (height, width) of the pictures, pixels; None for the variant's own.
      drop_path: probability of dropping a residual branch; None for the variant's own.
      init_from: the initial weights: None for random ones, "imagenet" for the released ones, a
        `.keras` or `.weights.h5` file of the same variant, or a repository on the Hugging Face hub,
        "hf://OWNER/NAME", with "@REVISION" for a certain one. Heads for other classes are
        initialised at random; attention biases of another size are resized.
      qat: recipe of `converters.to_tflite` for quantisation-aware training, "int8" or "int8_full";
        None for a float network. Training begins with the trained network of `init_from`, a
        `.keras` file in train or deploy form, "imagenet" or "hf://OWNER/NAME". That network is also
        the teacher, unless `teacher` names another. --set=qat=true means int8.
      exits: branches that classify early, such as "0:attention,1:pool": a stage, or a block as in
        "0.1", and the kind of branch after it (`levit_tf.dynamic.exits.add_exits`); None for none.
        They are trained on the trained network of `init_from`, which stays unchanged to the bit.
        They learn from the labels, from the teacher of `distillation`, and from the whole network.
      exits_end_to_end: whether the network is trained together with its exits.
      exits_weight: weight of each exit's loss in that case; the whole network has weight 1.
      exits_alpha: share of an exit's loss that measures its distance from the whole network's
        output.
      freeze_batch_norm: whether the network is trained in inference mode: BatchNorm uses its moving
        statistics and drop_path is off. The official code fine-tunes in this way.
      batch_norm_momentum: share of BatchNorm's moving statistics that a step keeps; 0.9 is 0.1 in
        PyTorch's notation.
      epochs: passes over the training pictures; also the length of the cosine schedule.
      cooldown_epochs: further epochs at `min_learning_rate`. The official code passes 10 to timm's
        scheduler, which ignores them, and trains for `epochs`.
      batch_size: pictures per step, over all replicas together. The official command has 8
        processes of 256.
      accumulate: number of parts into which each replica's batch is split; they pass through the
        network one after the other, to save memory.
      fill_batches: whether the last batch of an epoch is filled up with pictures already used in
        this epoch, rather than dropped.
      learning_rate: peak learning rate for a batch of `rate_batch`.
      rate_batch: batch size to which `learning_rate` refers; the rate grows in proportion to the
        batch. None for the same rate at every batch size.
      head_rate: factor on the learning rate of the classification heads.
      warmup_epochs: epochs of linear growth from `warmup_learning_rate` to the peak rate.
      warmup_steps: number of warm-up steps instead, after which the cosine changes with every step;
        None for the official schedule, in which the rate changes once per epoch.
      warmup_learning_rate: learning rate at the beginning of the warmup, for any batch size.
      min_learning_rate: learning rate at the end of the cosine, for any batch size.
      weight_decay: AdamW's weight decay, multiplied by the learning rate; not applied to biases,
        BatchNorm and attention biases.
      clip_factor: adaptive gradient clipping: largest norm of a unit's gradient, as a share of the
        norm of its weights; 0 turns it off.
      ema_decay: share of the weights' moving average that a step keeps; 0 for no average.
      ema_warmup: whether the first steps keep less, at most (1 + step) / (10 + step), so that the
        initial weights do not stay in the average of a short run.
      distillation: "none", "soft" or "hard": how the distillation head learns from the teacher.
        With "none" the network has one head, as in the official code. "soft" divides by the number
        of classes, as the official code does; not with `teacher_head`, where little would remain.
      distillation_alpha: weight of the teacher in the loss; the labels have the remaining weight.
      distillation_tau: temperature of soft distillation.
      teacher: file of the teacher, or a LeViT on the Hugging Face hub, "hf://OWNER/NAME", with
        "@REVISION" for a certain one; see `training.teachers.teacher.load_teacher`.
      teacher_preprocessing: the teacher's input range, if its file does not contain it: one of
        `levit_tf.preprocessing.INPUT_RANGES`, or MEAN/STD of pixels 0..255, such as "127/128".
      teacher_classes: file that maps the teacher's classes to the student's, if their names do not;
        see `training.teachers.classes.class_map`.
      teacher_head: whether to learn all classes of the teacher, whatever they are, in a head of
        their own that is left behind when training ends: the network for use has one head, which
        learns from the labels. Otherwise the distillation head learns the student's classes.
      teacher_top: number of the teacher's highest logits that count; the other classes share the
        remaining probability evenly. None for all logits.
      teacher_cache: folder with the teacher's answers: before training, it is asked once about each
        picture of the first epochs, and any run with the same pictures reads the answers.
      distinct_epochs: number of epochs after which order, augmentation and mixing of the pictures
        repeat, so that a teacher_cache holds no more than these; None to never repeat.
      trust_teacher: whether a SavedModel teacher may contain operations that read or write files or
        run Python.
      label_smoothing: probability spread evenly over all classes.
      mixup: alpha of mixup's beta distribution; 0 turns mixup off.
      cutmix: alpha of CutMix's beta distribution; 0 turns CutMix off.
      mixing_probability: probability of mixing a batch.
      cutmix_probability: probability of CutMix rather than mixup, if both are on.
      rand_augment: RandAugment in timm's notation, "rand-m9-mstd0.5-inc1"; None for none. The
        official code also sets colour jitter, which has no effect beside RandAugment and is not
        implemented.
      erasing: probability of random erasing.
      flip: probability of flipping left to right.
      crop_scale: smallest share of a picture's area that a random crop keeps. For inputs above 32
        pixels.
      crop_padding: border in pixels for the random shift, which replaces the crop for inputs of up
        to 32 pixels.
      repeats: repeated augmentation: number of copies of each picture in an epoch's list.
      precision: "float32", "bfloat16" or "float16", the last with loss scaling.
      jit_compile: whether XLA compiles the step; for one replica only. A TPU always compiles it.
      seed: seed of the initial weights, the order of the pictures and all random draws.
      eval_epochs: epochs between evaluations on held-out pictures; the last epoch is always
        evaluated.
      checkpoint_epochs: epochs between checkpoints; there is always one after the last epoch.
      checkpoint_steps: steps between checkpoints within an epoch; 0 for none.
      keep_checkpoints: number of most recent checkpoints to keep, beside the best one.
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
    teacher_head: bool = False
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
        """The peak learning rate for this batch size (main.py: `lr * batch_size / 512`)."""
        if self.rate_batch is None:
            return self.learning_rate
        return self.learning_rate * self.batch_size / self.rate_batch

    @property
    def planned(self) -> list[str]:
        """Names of the fields that `training.plan` has to fill."""
        fields = (field.name for field in dataclasses.fields(self))
        return [name for name in fields if getattr(self, name) is AUTO]

    @property
    def total_epochs(self) -> int:
        """Number of epochs of the run, including the cool-down."""
        return self.epochs + self.cooldown_epochs

    def __str__(self) -> str:
        fields = dataclasses.asdict(self)
        width = max(map(len, fields))
        return "\n".join(f"{name:{width}} {value!s}" for name, value in fields.items())


def override(config: Any, settings: Iterable[str]) -> Any:
    """Returns a configuration with some fields changed, as `--set` does.

    Args:
      config: the configuration to start from, a `Config` or that of another kind of run.
      settings: see `parse_settings`.

    Returns:
      A new configuration.

    Raises:
      ValueError: as for `parse_settings`, or the fields contradict each other.
    """
    return dataclasses.replace(config, **parse_settings(settings, type(config)))


def parse_settings(settings: Iterable[str], kind: type = Config) -> dict[str, Any]:
    """Parses the values of `--set`, without importing Keras.

    Args:
      settings: texts "field=value"; "none" stands for None, "auto" for the choice of
        `training.plan`, and a size is "224" or "224x320". "init" is short for "init_from".
      kind: the dataclass that has the fields.

    Returns:
      A dict from field to value.

    Raises:
      ValueError: a text has another form, an unknown field (the message names the nearest one), or
        a value of the wrong type or out of range.
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
      ValueError: there is no configuration of this name; the message lists all names.
    """
    check_config_name(name)
    return importlib.import_module(f"training.configs.{name}").CONFIG


def check_config_name(name: str) -> None:
    """Raises ValueError, with a list of all names, if there is no configuration of this name."""
    known = config_names()
    if name not in known:
        raise ValueError(
            f"Unknown config {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}."
        )


def config_names() -> list[str]:
    """Returns the names of all configurations."""
    # Listed from the folder, not imported, since those modules import this one.
    folder = Path(__file__).with_name("configs")
    return sorted(module.name for module in pkgutil.iter_modules([str(folder)]))
