"""What is known of dynamic files: their thresholds and the promise behind them, as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from levit_tf.dynamic.calibration import Calibration, Point
from levit_tf.pictures.labelled_pictures import LabelledPictures

RECORD_FILE = "dynamic.json"


def calibration_json(found: Calibration, pictures: LabelledPictures) -> dict[str, Any]:
    """A calibration, the pictures that it rests on, and the curve of what was tried."""
    content = dataclasses.asdict(found)
    curve = content.pop("curve")
    leaving = next((p.leaving for p in found.curve if p.threshold == found.thresholds[0]), None)
    return {
        **content,
        "promise": str(found),
        "leaving": leaving,
        "data": {
            "folder": pictures.folder,
            "pictures": len(pictures),
            "sha256": pictures.sha256(),
        },
        "curve": curve,
    }


def calibration_of(content: Mapping[str, Any]) -> Calibration:
    """The calibration that a JSON holds.

    Raises:
      ValueError: it holds none.
    """
    names = [field.name for field in dataclasses.fields(Calibration) if field.name != "curve"]
    try:
        values = {name: content[name] for name in names}
        curve = tuple(Point(**point) for point in content["curve"])
        for name in ("temperatures", "thresholds"):
            values[name] = tuple(map(float, values[name]))
        return Calibration(**values, curve=curve)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"no calibration of a dynamic network: {error}") from error


def read_calibration(path: str | os.PathLike, name: str = "fp32") -> Calibration:
    """A calibration of a `dynamic.json`.

    Args:
      path: the file, or the folder that it is in.
      name: whose: "fp32", "int8", or a file that was calibrated anew.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no record, or has no calibration of that name.
    """
    path = Path(path)
    path = path / RECORD_FILE if path.is_dir() else path
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file. Expected a {RECORD_FILE} of to_dynamic.")
    try:
        return calibration_of(json.loads(path.read_text(encoding="utf-8"))["calibration"][name])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: no record of converters.to_dynamic: {error}") from error


def check_thresholds(thresholds: Sequence[float]) -> None:
    """Raises ValueError for thresholds that are no probabilities between 0 and 1."""
    wrong = [value for value in thresholds if not 0 < value < 1]
    if wrong:
        raise ValueError(
            f"thresholds are confidences between 0 and 1. Received: {wrong[0]:g}. (To turn an exit "
            "off or to force it, give a threshold of 2 or 0 to the signature with_thresholds.)"
        )
