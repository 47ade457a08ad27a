"""The JSON record of dynamic files: their thresholds and the guarantee that they keep."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from converters.choices import RECORD_FILE
from levit_tf.dynamic.calibration import Calibration, Point
from levit_tf.fusion import has_levit_layers
from levit_tf.pictures.labelled_pictures import LabelledPictures

SAVED_MODEL = "saved_model"  # as the name of a file in the record
NETWORKS = "networks"  # what `network_json` returns for each of the record's "models"
_NO_RECORD = "no record of converters.to_dynamic"


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
    fields = [field for field in dataclasses.fields(Calibration) if field.name != "curve"]
    try:
        values = {
            field.name: content[field.name]
            for field in fields
            if field.name in content or field.default is dataclasses.MISSING
        }
        curve = tuple(Point(**point) for point in content["curve"])
        for name in ("temperatures", "thresholds"):
            values[name] = tuple(map(float, values[name]))
        return Calibration(**values, curve=curve)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"no calibration of a dynamic network: {error}") from error


def read_record(path: str | os.PathLike) -> tuple[Path, dict[str, Any]]:
    """Reads a `dynamic.json`, given as the file or its folder; returns its path and content.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is not a record.
    """
    path = Path(path)
    path = path / RECORD_FILE if path.is_dir() else path
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file. Expected a {RECORD_FILE} of to_dynamic.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {_NO_RECORD}: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("calibration"), dict):
        raise ValueError(f"{path}: {_NO_RECORD}: it has no calibration.")
    return path, content


def served_calibration(path: str | os.PathLike) -> tuple[str, Calibration]:
    """Reads the calibration that a server needs: that of the SavedModel as it is now.

    Args:
      path: see `read_record`.

    Returns:
      Its name in the record and the calibration: that of the SavedModel, which may have been
      recalibrated; of a folder without one, "fp32".

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is not a record, or the thresholds were set by hand.
    """
    path, content = read_record(path)
    try:
        name = content.get("files", {}).get(SAVED_MODEL, {}).get("calibration", "fp32")
        found = content["calibration"][name]
        if "temperatures" not in found:
            raise ValueError(
                f"the thresholds of {name} were set by hand, and the record has no temperatures "
                "for them. Calibrate it: python -m converters.recalibrate "
                f"--file={path.parent / name} --calibration=imagefolder:PATH"
            )
        return name, calibration_of(found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: {error}") from error


def network_json(model: keras.Model) -> dict[str, Any]:
    """Returns as JSON what tells a network from others, however often it is saved.

    A checksum of its file would not do: Keras writes the time into it.

    Returns:
      A checksum of the weights, and whether the network has none of the layers that `levit_tf.fuse`
      replaces: weights of one form cannot be compared with those of the other.
    """
    digests = []
    for weight in model.weights:
        array = keras.ops.convert_to_numpy(keras.ops.cast(weight, "float32"))
        content = f"{array.shape} ".encode() + array.astype("<f4").tobytes()
        digests.append(hashlib.sha256(content).digest())
    # Sorted, since neither the order of layers nor paths are the same in every copy of a network.
    digest = hashlib.sha256(b"".join(sorted(digests))).hexdigest()
    return {"weights_sha256": digest, "fused": not has_levit_layers(model)}


def check_models(
    path: str | os.PathLike, models: Sequence[keras.Model], names: Sequence[str]
) -> str | None:
    """Checks that a record was made of these networks.

    Args:
      path: see `read_record`.
      models: the networks, in the order of the steps.
      names: their files or variants, for messages.

    Returns:
      Why it cannot be checked, for a message; None if it was.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is not a record, or was made of other networks.
    """
    path, content = read_record(path)
    known, unchecked = content.get(NETWORKS), "thresholds of another network are not noticed"
    if not known:
        return f"no checksum to compare, {path} has none of its networks: {unchecked}"
    if len(known) != len(models):
        raise ValueError(f"{path}: made of {len(known)} networks. Received: {len(models)}")
    other_forms = []
    for model, name, recorded in zip(models, names, known, strict=True):
        found = network_json(model)
        if found["fused"] != recorded["fused"]:
            forms = ("is fused", "was not") if found["fused"] else ("is not fused", "was")
            other_forms.append((name, *forms))
        elif found != recorded:
            raise ValueError(
                f"{path}: made of another network than {name}: their weights differ. Its "
                "thresholds hold for its own network only; run converters.to_dynamic on yours."
            )
    if other_forms:
        name, here, there = other_forms[0]
        return (
            f"{name} {here}, the network of {path} {there}, so they are not compared: {unchecked}"
        )
    return None


def check_thresholds(thresholds: Sequence[float]) -> None:
    """Raises ValueError for thresholds that are not between 0 and 1."""
    wrong = [value for value in thresholds if not 0 < value < 1]
    if wrong:
        raise ValueError(
            f"thresholds are confidences between 0 and 1. Received: {wrong[0]:g}. (To turn an exit "
            "off or to force it, give a threshold of 2 or 0 to the signature with_thresholds.)"
        )
