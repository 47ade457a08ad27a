"""How users name a Keras model: a file, a run's folder, an address on the hub, or a variant."""

from __future__ import annotations

import os
from pathlib import Path

from levit_common.files import check_exists
from levit_common.hub_addresses import is_hub_address

NAMES = (
    "hf://OWNER/NAME, or the name of a variant, for the weights that are released or come with the "
    "package"
)
KERAS_SOURCES = f"a .keras file, the folder of a run, {NAMES}"
MODEL_HELP = f"LeViT, or a model that contains one: {KERAS_SOURCES}."
TRAIN_FORM_HELP = f"LeViT in train form: {KERAS_SOURCES}."


def is_plain_name(source: str | os.PathLike) -> bool:
    """Whether a value can be a variant's name: it is no file, and has neither folder nor suffix.

    The names of variants are recognised in many spellings, also with folders and suffixes, but a
    mistyped runs/levit256.keras must not start a download.
    """
    text = os.fspath(source)
    return Path(text).name == text and not Path(text).suffix and not os.path.exists(text)


def is_name(source: str | os.PathLike) -> bool:
    """Whether a model is named by an address on the hub or as a variant, not by its file."""
    return is_hub_address(source) or is_plain_name(source)


def check_source(source: str | os.PathLike, expected: str = KERAS_SOURCES) -> None:
    """Raises FileNotFoundError if a file is named that does not exist.

    Names and addresses are looked up later, by `levit_tf.applications.load_by_name`.

    Args:
      source: what a user gave.
      expected: what the caller accepts, for the error message.
    """
    if not is_name(source):
        check_exists(source, expected)
