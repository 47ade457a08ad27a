"""The JSON record of dynamic files: their thresholds and the guarantee that they keep."""

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
    """Returns a calibration as JSON, with its pictures and the curve of tried thresholds."""
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
    """Returns the calibration in a JSON object.

    Raises:
      ValueError: the object contains no calibration.
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
    """Reads a calibration from a `dynamic.json`.

    Args:
      path: the file, or its folder.
      name: name of the calibration: "fp32", "int8", or the name of a recalibrated file.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is not a record, or has no calibration of this name.
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
    """Raises ValueError for thresholds that are not between 0 and 1."""
    wrong = [value for value in thresholds if not 0 < value < 1]
    if wrong:
        raise ValueError(
            f"thresholds are confidences between 0 and 1. Received: {wrong[0]:g}. (To turn an exit "
            "off or to force it, give a threshold of 2 or 0 to the signature with_thresholds.)"
        )
