"""Types, ranges and combinations of a configuration's fields, and parsing them from text."""

from __future__ import annotations

import dataclasses
import enum
import math
import os
import types
import typing
from collections.abc import Mapping
from typing import Any

from converters.choices import TARGETS
from levit_common.cli import parse_size
from levit_common.hub_addresses import is_hub_address, parse_address
from levit_common.model_sources import is_plain_name
from levit_common.spelling import did_you_mean
from training.choices import DISTILLATIONS, PRECISIONS
from training.notation import parse_exits, parse_rand_augment

Size = tuple[int, int]


class Auto(enum.Enum):
    """The value of a field that `training.plan` fills."""

    AUTO = "auto"

    def __str__(self) -> str:
        return self.value


AUTO = Auto.AUTO
_NAMES = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a text",
    Size: "a size such as 224 or 224x320",
}
_OF_TEACHER_FILES = ("teacher_preprocessing", "teacher_classes", "teacher_top", "teacher_cache")
RELEASED = "imagenet"  # as init_from: the released weights
PACKAGED = "LeViTMini"  # as init_from: the variant whose weights come with the package
INIT_FROM = (
    f"init_from=imagenet (the released weights), init_from={PACKAGED} (those that come with the "
    "package), init_from=FILE (a .keras file, the folder of a run, or a .weights.h5 file of the "
    "same classes), init_from=hf://OWNER/NAME (on the Hugging Face hub) or init_from=none (random "
    "weights)"
)
_TRAINED = (
    f"its .keras file or the folder of its run, to imagenet, to {PACKAGED} or to hf://OWNER/NAME"
)
_TRUE, _FALSE, _NONE = ("true", "yes", "1"), ("false", "no", "0"), "none"


def check_types(config: Any) -> None:
    """Raises TypeError for a field whose value does not match its annotation."""
    for name, (kind, others) in _kinds(type(config)).items():
        value = getattr(config, name)
        if value not in others and not _is_a(value, kind):
            raise TypeError(f"{name} must be {_describe(kind, others)}. Received: {value!r}")


def parse(config_class: type, name: str, text: str) -> Any:
    """Parses the value of a field from text.

    Raises:
      ValueError: the text is not a value of this type.
    """
    kind, others = _kinds(config_class)[name]
    if name == "qat" and text.lower() in (*_TRUE, *_FALSE):
        return TARGETS[0] if text.lower() in _TRUE else None
    if name == "init_from" and not text:
        raise ValueError(f"--set: expected {INIT_FROM}. Received: init_from=''")
    if name in ("init_from", "teacher") and is_hub_address(text):
        parse_address(text)
    if None in others and text.lower() == _NONE:
        return None
    if AUTO in others and text.lower() == AUTO.value:
        return AUTO
    try:
        if kind is bool:
            return {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}[text.lower()]
        return parse_size(text) if kind == Size else kind(text)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"--set: {name} is {_describe(kind, others)}. Received: {text!r}"
        ) from error


def check_values(values: Mapping[str, Any]) -> None:
    """Raises ValueError for a value out of its range.

    Args:
      values: a dict from field to value; fields may be missing.
    """

    def check(names, is_valid, expected):
        for name in names.split():
            value = values.get(name)
            if value is not None and value is not AUTO and not is_valid(value):
                raise ValueError(f"{name} must be {expected}. Received: {value!r}")

    check(
        "epochs batch_size accumulate rate_batch repeats eval_epochs checkpoint_epochs "
        "keep_checkpoints teacher_top distinct_epochs",
        lambda value: value >= 1,
        "at least 1",
    )
    check(
        "cooldown_epochs warmup_epochs warmup_steps crop_padding seed checkpoint_steps",
        lambda value: value >= 0,
        "at least 0",
    )
    check(
        "learning_rate head_rate warmup_learning_rate min_learning_rate weight_decay clip_factor "
        "mixup cutmix exits_weight",
        lambda value: math.isfinite(value) and value >= 0,
        "at least 0 and finite",
    )
    check(
        "label_smoothing ema_decay batch_norm_momentum drop_path",
        lambda value: 0 <= value < 1,
        "in [0, 1)",
    )
    check(
        "distillation_alpha mixing_probability cutmix_probability erasing flip exits_alpha",
        lambda value: 0 <= value <= 1,
        "in [0, 1]",
    )
    check("crop_scale", lambda value: 0 < value <= 1, "in (0, 1]")
    check(
        "distillation_tau", lambda value: math.isfinite(value) and value > 0, "above 0 and finite"
    )
    known = {"distillation": DISTILLATIONS, "precision": PRECISIONS, "qat": TARGETS}
    for name, choices in known.items():
        if values.get(name) is not None:
            _check_one_of(name, values[name], choices)
    if values.get("rand_augment") not in (None, AUTO):
        parse_rand_augment(values["rand_augment"])
    if values.get("exits") is not None:
        parse_exits(values["exits"])


def check_network(config: Any) -> None:
    """Raises ValueError for an unknown variant, or an input size that it does not support."""
    # Imported here, so that errors which need no Keras are reported before Keras is imported.
    from levit_tf.variants import get_variant

    variant = get_variant(config.variant)
    if config.input_size is not None:
        variant.grids(config.input_size)


def check_combinations(config: Any) -> None:
    """Raises ValueError for fields that contradict each other; the message says what to change."""
    if config.epochs is not AUTO and config.warmup_epochs >= config.epochs:
        raise ValueError(
            f"warmup_epochs must be fewer than epochs. Received: {config.warmup_epochs} and "
            f"{config.epochs}"
        )
    if config.batch_size is not AUTO and config.batch_size % config.accumulate:
        raise ValueError(
            f"accumulate must divide batch_size. Received: {config.accumulate} and "
            f"{config.batch_size}"
        )
    if config.distillation == "none" and config.teacher is not None:
        raise ValueError(
            f"teacher={config.teacher!r} needs distillation=hard or distillation=soft. Received: "
            "distillation='none'"
        )
    if config.distillation != "none" and config.teacher is None and config.qat is None:
        raise ValueError(
            f"distillation={config.distillation!r} needs a teacher: set teacher to its file or to "
            "hf://OWNER/NAME, or distillation=none."
        )
    given = [name for name in _OF_TEACHER_FILES if getattr(config, name) is not None]
    if given and config.teacher is None:
        raise ValueError(f"{given[0]} is about the teacher's file: set teacher to it too.")
    if config.teacher_head:
        _check_teacher_head(config)
    if config.distillation != "soft" and config.distillation_tau != 1:
        raise ValueError(
            "distillation_tau is for distillation=soft. Received: "
            f"{config.distillation_tau} with distillation={config.distillation!r}"
        )
    freezes = config.freeze_batch_norm is True
    if freezes and config.init_from is None:
        raise ValueError(
            "freeze_batch_norm needs the statistics of trained weights, and init_from=none has "
            "none: set init_from=FILE, or freeze_batch_norm=false."
        )
    if freezes and config.drop_path:
        raise ValueError(
            f"drop_path={config.drop_path} has no effect with freeze_batch_norm, which runs the "
            "network in inference mode. Leave one of them out."
        )
    if config.qat is not None:
        _check_qat(config)
    if config.exits is not None:
        _check_exits(config)
    elif config.exits_end_to_end:
        raise ValueError("exits_end_to_end needs exits: set exits=0:attention,1:pool.")


def _check_qat(config: Any) -> None:
    source = config.init_from
    if not _names_network(source):
        raise ValueError(
            f"qat={config.qat!r} begins with a trained network: set init_from to {_TRAINED}. "
            f"Received: {source!r}"
        )
    for name, wanted, reason in (
        ("precision", "float32", "what is rounded to int8 must not be rounded before"),
        ("freeze_batch_norm", False, "the network has no BatchNorm, and its ranges must move"),
        ("drop_path", None, "the int8 file has none"),
    ):
        if (value := getattr(config, name)) not in (wanted, AUTO):
            raise ValueError(
                f"{name}={value} does not go with qat={config.qat!r}: {reason}. Set "
                f"{name}={str(wanted).lower()}."
            )


def _check_teacher_head(config: Any) -> None:
    if config.teacher is None:
        raise ValueError(
            "teacher_head is a head of the teacher's classes: set teacher to its file."
        )
    for name in ("teacher_classes", "exits", "qat"):
        if (value := getattr(config, name)) is not None:
            why = (
                "a head of all the teacher's classes needs no map of them"
                if name == "teacher_classes"
                else "it leaves its head behind, and these networks learn with the heads they have"
            )
            raise ValueError(f"{name}={value} does not go with teacher_head: {why}. Leave one out.")


def _names_network(source: str | None) -> bool:
    """Whether `init_from` is of a network, not of weights alone."""
    return source is not None and (
        is_plain_name(source)  # of a variant
        or source.endswith(".keras")
        or is_hub_address(source)
        or os.path.isdir(source)  # of a run
    )


def _check_exits(config: Any) -> None:
    if config.qat is not None:
        raise ValueError(
            f"qat={config.qat!r} and exits={config.exits!r} do not go together: train the exits "
            "first; converters.to_dynamic quantises them."
        )
    if config.exits_end_to_end:
        return
    source = config.init_from
    if not _names_network(source):
        raise ValueError(
            f"exits={config.exits!r} are put on a trained network: set init_from to {_TRAINED}; or "
            f"train both with exits_end_to_end=true. Received: {source!r}"
        )
    for name in ("drop_path", "freeze_batch_norm"):
        if (value := getattr(config, name)) not in (None, False, AUTO):
            raise ValueError(
                f"{name}={value} is about the network, which stays as it is while its exits learn. "
                f"Leave it out, or set exits_end_to_end=true."
            )


def _kinds(config_class: type) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """Returns the type of each field and its other allowed values: None, AUTO."""
    hints = typing.get_type_hints(config_class)
    kinds = {}
    for field in dataclasses.fields(config_class):
        hint = hints[field.name]
        options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        others = ((types.NoneType, None), (Auto, AUTO))
        kinds[field.name] = (options[0], tuple(v for kind, v in others if kind in options))
    return kinds


def _is_a(value: Any, kind: Any) -> bool:
    if kind == Size:
        return isinstance(value, tuple) and len(value) == 2 and all(_is_a(n, int) for n in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _describe(kind: Any, others: tuple[Any, ...]) -> str:
    words = [_NAMES[kind], *("none" if other is None else str(other) for other in others)]
    return " or ".join(words)


def _check_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        hint = did_you_mean(value, known)
        raise ValueError(f"{name} must be one of {', '.join(known)}.{hint} Received: {value!r}")
