"""Parses the fields of a configuration that have a notation of their own."""

from __future__ import annotations

import re

from levit_common.choices import EXIT_KINDS


def parse_exits(text: str) -> dict[str, str]:
    """Parses the places and kinds of exits: "0:attention,1:pool", or after a block, "0.1:pool".

    Returns:
      A dict from place to kind, for `levit_tf.dynamic.exits.add_exits`.

    Raises:
      ValueError: the text has another form; the message shows the expected one.
    """
    pairs = [part.partition(":") for part in text.split(",")]
    found = {place: kind for place, _, kind in pairs}
    if (
        len(found) != len(pairs)
        or not all(re.fullmatch(r"[01](\.\d+)?", place) for place in found)
        or not (set(found.values()) <= set(EXIT_KINDS))
    ):
        raise ValueError(
            f"exits are written as '0:attention,1:pool': stages 0 or 1, or blocks of theirs as in "
            f"'0.1:pool', each with one of {', '.join(EXIT_KINDS)}. Received: {text!r}"
        )
    return found


def parse_rand_augment(text: str) -> dict[str, float]:
    """Parses RandAugment in timm's notation, "rand-m9-mstd0.5-inc1".

    Returns:
      A dict with "magnitude", "magnitude_std", "operations" and "operation_probability".

    Raises:
      ValueError: the text has another form; the message shows the expected one.
    """
    patterns = {
        r"m(\d+(?:\.\d+)?)": ("magnitude", float),
        r"mstd(\d+(?:\.\d+)?)": ("magnitude_std", float),
        r"n(\d+)": ("operations", int),
        r"p(\d+(?:\.\d+)?)": ("operation_probability", float),
    }
    values = {"magnitude": 10.0, "magnitude_std": 0.0, "operations": 2}
    values["operation_probability"] = 0.5  # these are timm's defaults
    first, *parts = text.split("-")
    understood = first == "rand" and "inc1" in parts
    for part in parts:
        matches = [(re.fullmatch(pattern, part), *field) for pattern, field in patterns.items()]
        found = [(name, kind(match[1])) for match, name, kind in matches if match]
        understood = understood and (part == "inc1" or len(found) == 1)
        values.update(found)
    if not understood or not 0 <= values["magnitude"] <= 10:
        raise ValueError(
            "rand_augment is written as 'rand-m9-mstd0.5-inc1': m magnitude (0 to 10), mstd its "
            "standard deviation, n operations, p their probability, inc1 (always: magnitudes that "
            f"grow). Received: {text!r}"
        )
    return values
