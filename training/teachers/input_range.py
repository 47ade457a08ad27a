"""The range of values that a teacher takes: its file has it, or `teacher_preprocessing`."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from levit_tf.preprocessing import INPUT_RANGES, InputRange
from training.teachers.reading import Reading

_NORMALIZED = INPUT_RANGES["normalized"]  # the range of the student's input


def parse_preprocessing(text: str) -> InputRange:
    """Parses the value of `teacher_preprocessing`.

    Args:
      text: a name of `levit_tf.preprocessing.INPUT_RANGES`, or "MEAN/STD" of pixels 0..255, each
        one number or one per channel: "127/128", "123.7,116.3,103.5/58.4,57.1,57.4".

    Raises:
      ValueError: the text has neither form.
    """
    if text in INPUT_RANGES:
        return INPUT_RANGES[text]
    number = r"\d+(?:\.\d+)?"
    numbers = rf"{number}(?:,{number})*"
    if not re.fullmatch(rf"{numbers}/{numbers}", text):
        raise ValueError(
            f"teacher_preprocessing must be one of {', '.join(INPUT_RANGES)}, or MEAN/STD of "
            f"pixels 0..255, such as 127/128. Received: {text!r}"
        )
    mean, std = ([float(n) / 255 for n in part.split(",")] for part in text.split("/"))
    count = max(len(mean), len(std), 3)
    mean, std = (tuple(part * count if len(part) == 1 else part) for part in (mean, std))
    return InputRange(mean, std)


def range_of(found: Reading, path: str, channels: int, given: str | None) -> InputRange:
    """Returns the range of the teacher's input.

    Raises:
      ValueError: it is unknown, or the file and the setting contradict each other.
    """
    wanted = None if given is None else parse_preprocessing(given).of_channels(channels)
    takes = None if found.takes is None else found.takes.of_channels(channels)
    if takes is None and wanted is None:
        raise ValueError(
            f"teacher {path}: nothing in the model says what its images hold. Say it by "
            "--set=teacher_preprocessing=pixels (RGB 0..255), unit (0..1), symmetric (-1..1), "
            "normalized (levit_tf.preprocess_input), or MEAN/STD of pixels, such as 127/128."
        )
    if None not in (takes, wanted) and not (
        np.allclose(takes.mean, wanted.mean) and np.allclose(takes.std, wanted.std)
    ):
        raise ValueError(
            f"teacher {path}: teacher_preprocessing={given} contradicts the file, whose images "
            f"hold: {takes}. Leave it out."
        )
    return takes or wanted


def to_range(takes: InputRange) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function from the student's normalised images to a teacher's input range."""
    channels = len(takes.mean)
    here = _NORMALIZED.of_channels(channels) if channels in (1, 3) else None
    if takes == here or here is None:
        return tf.identity
    # ((pixels / 255) - mean) / std, where pixels / 255 = images * STD + MEAN.
    slope = np.float32(here.std) / np.float32(takes.std)
    offset = (np.float32(here.mean) - np.float32(takes.mean)) / np.float32(takes.std)
    return lambda images: tf.cast(images, tf.float32) * slope + offset
