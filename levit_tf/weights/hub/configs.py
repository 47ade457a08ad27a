"""Reads the description of a network in a hub repository, in timm's or transformers' format."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from levit_lite.class_names import check_class_names
from levit_tf.preprocessing import InputRange

MAX_CONFIG_BYTES = 4 << 20
_UNNAMED = re.compile(r"LABEL_\d+")  # transformers' placeholders for missing class names


@dataclasses.dataclass(frozen=True)
class HubConfig:
    """Content of config.json and preprocessor_config.json; None for missing values.

    Attributes:
      architecture: name of the network in that codebase.
      class_names: class names in the order of the outputs.
      input_size: (height, width) of the training images, pixels.
      input_range: range of the input values.
      classes: number of classes.
    """

    architecture: str | None = None
    class_names: tuple[str, ...] | None = None
    input_size: tuple[int, int] | None = None
    input_range: InputRange | None = None
    classes: int | None = None


def read_config(text: str, preprocessor: Callable[[], str | None], source: str) -> HubConfig:
    """Reads a repository's description.

    Args:
      text: content of config.json.
      preprocessor: returns the content of preprocessor_config.json, None if there is none; called
        for transformers' format only.
      source: the repository, for error messages.

    Raises:
      ValueError: the text is not JSON, does not describe a LeViT, or has invalid values.
    """
    config = _json(text, f"{source}: config.json")
    if "architecture" in config or "pretrained_cfg" in config:
        found = _of_timm(config, source)
    else:
        more = preprocessor()
        more = {} if more is None else _json(more, f"{source}: preprocessor")
        found = _of_transformers(config, more, source)
    if found.class_names is not None and found.classes is not None:
        check_class_names(found.class_names, found.classes, f"{source}: config.json")
    return found


def _json(text: str, name: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{name} is no JSON: {error}.") from error
    if not isinstance(found, dict):
        raise ValueError(f"{name} is no JSON object.")
    return found


def _of_timm(config: Mapping[str, Any], source: str) -> HubConfig:
    inner = config.get("pretrained_cfg") or config
    name = str(config.get("architecture") or inner.get("architecture"))
    if not name.startswith("levit"):
        raise _not_levit(source, name)
    names = config.get("label_names") or inner.get("label_names")
    said = config.get("label_descriptions") or inner.get("label_descriptions") or {}
    if names is not None:
        names = tuple(str(said.get(label, label)) for label in _in_order(names, source))
    size = inner.get("input_size")
    return HubConfig(
        architecture=name,
        class_names=names,
        input_size=None if size is None else _size(size[1:], "input_size", source),
        input_range=_range(inner.get("mean"), inner.get("std"), source),
        classes=_count(config.get("num_classes", inner.get("num_classes")), source),
    )


def _of_transformers(
    config: Mapping[str, Any], preprocessor: Mapping[str, Any], source: str
) -> HubConfig:
    name = ", ".join(map(str, config.get("architectures") or [])) or "nothing"
    if config.get("model_type") != "levit":
        raise _not_levit(source, f"{name} (model_type {config.get('model_type')!r})")
    names = config.get("id2label")
    if names is not None:
        names = _in_order(names, source)
        if all(_UNNAMED.fullmatch(label) for label in names):
            names = None
    size = config.get("image_size")
    size = [size, size] if isinstance(size, int) else size
    return HubConfig(
        architecture=name,
        class_names=names,
        input_size=None if size is None else _size(size, "image_size", source),
        input_range=_range(preprocessor.get("image_mean"), preprocessor.get("image_std"), source),
        classes=_count(config.get("num_labels"), source),
    )


def _not_levit(source: str, found: str) -> ValueError:
    return ValueError(
        f"{source}: expected a LeViT of timm (an architecture levit_*) or of transformers "
        f"(model_type 'levit'). Found: {found}."
    )


def _in_order(names: Mapping | Sequence, source: str) -> tuple[str, ...]:
    """Returns class names in order, from a list or from a mapping of class numbers to names."""
    if not isinstance(names, dict):
        return tuple(map(str, names))
    try:
        by_number = {int(number): str(name) for number, name in names.items()}
    except ValueError as error:
        raise ValueError(
            f"{source}: config.json: names of classes by numbers expected. {error}"
        ) from error
    missing = next((n for n in range(len(by_number)) if n not in by_number), None)
    if missing is not None:
        raise ValueError(
            f"{source}: config.json: {len(by_number)} names of classes, and none of class "
            f"{missing}."
        )
    return tuple(by_number[n] for n in range(len(by_number)))


def _count(value: Any, source: str) -> int | None:
    if value is not None and (not isinstance(value, int) or value < 1):
        raise ValueError(f"{source}: config.json: {value!r} classes; expected a positive number.")
    return value


def _size(value: Any, key: str, source: str) -> tuple[int, int]:
    ok = isinstance(value, list) and len(value) == 2
    if not ok or not all(isinstance(side, int) and 0 < side <= 1 << 14 for side in value):
        raise ValueError(f"{source}: config.json: {key} {value!r}; expected height and width.")
    return value[0], value[1]


def _range(mean: Any, std: Any, source: str) -> InputRange | None:
    if mean is None or std is None:
        return None
    try:
        return InputRange(tuple(map(float, mean)), tuple(map(float, std)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{source}: mean {mean!r} and std {std!r}: {error}") from error
