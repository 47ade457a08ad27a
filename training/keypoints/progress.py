"""Progress of a training for joints, from which a stopped run resumes bit for bit.

After each epoch the weights and the state of the optimizer are put in place as one file, after the
epoch's line of the log and its best weights. What a run did behind that file is done again.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

import keras

from levit_common.files import atomic_path
from levit_common.json_files import write_json
from levit_common.regular_files import ModelFileError, first_line
from training.checkpoints.record import RUN_FILE, DifferentRunError
from training.keypoints.people import Crops, JointSet, fingerprints

PROGRESS_FILE, LOG_FILE, BEST_FILE = "progress.weights.h5", "log.csv", "best.weights.h5"
# Those of quantisation-aware training.
QAT_PROGRESS_FILE, QAT_BEST_FILE = "progress.npz", "best.keras"


def check_same_people(folder: Path, data: JointSet, parts: Mapping[str, Crops], steps: int) -> None:
    """Notes in the folder of a run what it is trained on, or refuses to go on with something else.

    Args:
      folder: of the run.
      data: its data set.
      parts: people cut out of the pictures, by name of the part.
      steps: of an epoch.

    Raises:
      DifferentRunError: the run began with something else; the message says what differs.
    """
    now = {"steps_per_epoch": steps, "names_of_joints": list(data.skeleton.joints)}
    for part, crops in parts.items():
        now[f"{part}_people"] = len(crops.pixels)
        for name, value in fingerprints(getattr(data, part)).items():
            now[f"{part}_{name}"] = value
    path = folder / RUN_FILE
    if not path.exists() and rows_of(folder):
        print("This run is of an earlier version, which did not note its data.")
    try:
        earlier = json.loads(path.read_text("utf-8")) if path.exists() else now
    except ValueError as error:
        raise DifferentRunError(f"{path}: damaged: {error}. --overwrite begins anew.") from error
    different = [
        name.replace("_", " ")
        + f" ({earlier.get(name)} before, {value} now)" * (type(value) is int)
        for name, value in now.items()
        if earlier.get(name) != value
    ]
    if different:
        fewer = any(now[f"{part}_people"] < earlier.get(f"{part}_people", 0) for part in parts)
        raise DifferentRunError(
            f"{folder}: has a run that began with other data. Different: {', '.join(different)}. "
            "Put the files back as they were, name another folder, or begin anew with --overwrite."
            + " (This version leaves out people whose boxes have no size or lie outside of their "
            "pictures; an earlier one did not.)" * fewer
        )
    write_json(path, now)


def resumed_epoch(learner: keras.Model, folder: Path, steps: int) -> int:
    """Takes up the training that a folder has, if any.

    Args:
      learner: the compiled network, which gets the weights and the optimizer's state.
      folder: of the run; what its log says of epochs behind that state is removed.
      steps: of an epoch.

    Returns:
      The epoch to begin with.

    Raises:
      ModelFileError: the state is damaged, or of another network.
    """
    path = folder / PROGRESS_FILE
    epoch = 0
    if path.exists():
        learner.optimizer.build(learner.trainable_variables)
        try:
            learner.load_weights(path)
        except Exception as error:  # errors of many types
            raise ModelFileError(
                f"{path}: damaged, or of another network. --overwrite begins anew. "
                f"{first_line(error)}"
            ) from error
        epoch = int(learner.optimizer.iterations) // steps
    forget_rows(folder, epoch)
    return epoch


def keep_best(best: Path) -> None:
    """Says that a training which diverged ends with its best epoch until then.

    Raises:
      ValueError: there is no such file, since it diverged in the first epoch.
    """
    advice = "The loss became infinite or not a number: try a lower learning_rate."
    if not best.exists():
        raise ValueError(advice)
    print(f"WARNING: {advice} The best epoch until then is kept.", flush=True)


def append_row(folder: Path, epoch: int, values: Mapping[str, float]) -> None:
    """Adds an epoch's line to the log."""
    row = {"epoch": epoch, **dict(sorted(values.items()))}
    path = folder / LOG_FILE
    is_first = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if is_first:
            writer.writeheader()
        writer.writerow(row)


def forget_rows(folder: Path, epoch: int) -> None:
    """Removes what the log says of this epoch and later ones."""
    rows = rows_of(folder)
    if len(rows) > epoch:
        with (
            atomic_path(folder / LOG_FILE, overwrite=True) as temporary,
            open(temporary, "w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows[:epoch])


def score_of(row: Mapping[str, float | str]) -> float:
    """Returns the score of an epoch: PCK or, without it, the negative mean distance."""
    return (
        float(row["val_pck"]) if row.get("val_pck") not in (None, "") else -float(row["val_mpjpe"])
    )


def best_score(folder: Path) -> float:
    """The best score of a run that goes on."""
    return max(map(score_of, rows_of(folder)), default=-math.inf)


def rows_of(folder: Path) -> list[dict[str, str]]:
    """The lines of a run's log, one for each epoch."""
    path = folder / LOG_FILE
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def save_weights(model: keras.Model, path: str | os.PathLike) -> None:
    """Writes weights, and a compiled model's optimizer, so that the file is whole or not there."""
    with atomic_path(path, overwrite=True) as temporary:
        model.save_weights(temporary)
