"""LSP and LSPET: a folder with `joints.mat` and the pictures beside it.

LSP (Johnson and Everingham 2010) has 2,000 people and (3, 14, people) labels, in which a third row
of 0 means that the joint can be seen; LSPET (2011) has 10,000 and (14, 3, people), in which 1 means
that it is labelled. The last tenth is the test part and the one before it the validation, but for
LSPET: its pictures come in series, so its parts are drawn, and kept in `lspet_split.json`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from levit_tf.keypoints.skeletons import LSP
from training.keypoints.people import JointSet, Person, usable

LABELS = "joints.mat"
SPLIT = Path(__file__).with_name("lspet_split.json")
_LSPET_PEOPLE = 10000


def load_lsp(folder: str | Path) -> JointSet:
    """Reads a folder of LSP or LSPET.

    Raises:
      FileNotFoundError: there is no `joints.mat`, or no picture.
      ImportError: SciPy is not installed.
      ValueError: labels and pictures are not of one number, or the labels have another shape.
    """
    folder = Path(folder)
    path = folder / LABELS
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file. Expected a folder of LSP or LSPET.")
    try:
        import scipy.io
    except ImportError as error:
        raise ImportError(f"{path}: reading it needs SciPy: pip install scipy") from error
    try:
        joints = scipy.io.loadmat(str(path))["joints"]
    except (KeyError, ValueError, TypeError, NotImplementedError) as error:
        raise ValueError(f"{path}: no labels of LSP: {error}") from error
    count = len(LSP.joints)
    if joints.ndim == 3 and joints.shape[:2] == (3, count):
        joints = joints.transpose(2, 1, 0).astype(np.float64)  # (people, joints, 3)
        joints[..., 2] = 1  # hidden joints are labelled too
    elif joints.ndim == 3 and joints.shape[:2] == (count, 3):
        joints = joints.transpose(2, 0, 1).astype(np.float64)
    else:
        raise ValueError(
            f"{path}: expected joints of shape ({count}, 3, people) or (3, {count}, people). "
            f"Found: {joints.shape}"
        )
    pictures = sorted((folder / "images").glob("im*.jpg"))
    if len(pictures) != len(joints):
        raise ValueError(
            f"{path}: labels of {len(joints)} people, but {len(pictures)} pictures im*.jpg in "
            f"{folder / 'images'}."
        )
    people = [Person(str(p), j) for p, j in zip(pictures, joints, strict=True)]
    parts, skipped = [], []
    for part in _parts(len(people)):
        kept, left_out = usable([people[n] for n in part], count)
        parts.append(kept)
        skipped += left_out
    return JointSet(LSP, *parts, skipped)


def _parts(people: int) -> list[np.ndarray]:
    """Indices of the training, validation and test part."""
    if people == _LSPET_PEOPLE:
        split = json.loads(SPLIT.read_text(encoding="utf-8"))
        validation, test = np.array(split["validation"]), np.array(split["test"])
        rest = np.setdiff1d(np.arange(people), np.concatenate([validation, test]))
        return [rest, validation, test]
    tenth = max(1, people // 10)
    return np.split(np.arange(people), [people - 2 * tenth, people - tenth])
