"""COCO-style JSON: `images`, `annotations` and `categories` with the names of the joints."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from levit_tf.keypoints.skeletons import COCO, Skeleton, skeleton_of
from training.keypoints.parts import drawn_parts
from training.keypoints.people import JointSet, Person, usable


def load_coco(source: str | Path) -> JointSet:
    """Reads annotations of people.

    Args:
      source: the JSON, its pictures being in the folder `images` beside it; or JSON::FOLDER.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no such JSON; the message says what it lacks.
    """
    name, _, folder = str(source).partition("::")
    path = Path(name)
    folder = Path(folder) if folder else path.parent / "images"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files = {image["id"]: image["file_name"] for image in content["images"]}
        skeleton = _skeleton(content.get("categories", []))
        people = [
            _person(annotation, files, folder, path)
            for annotation in content["annotations"]
            if annotation.get("keypoints") and not annotation.get("iscrowd")
        ]
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no JSON: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected COCO's images (id, file_name) and annotations (image_id, bbox, "
            f"keypoints). Missing or of another kind: {error}"
        ) from error
    people, skipped = usable(people, len(skeleton.joints))
    return JointSet(skeleton, *drawn_parts(people), skipped)


def _skeleton(categories) -> Skeleton:
    """Returns the skeleton of the first category with joints, or COCO's without one.

    Its limbs are those of the file, if that names any.
    """
    found = next((category for category in categories if category.get("keypoints")), None)
    if found is None or tuple(found["keypoints"]) == COCO.joints:
        return COCO
    joints = tuple(found["keypoints"])
    limbs = tuple((joints[a - 1], joints[b - 1]) for a, b in found.get("skeleton", []))
    known = skeleton_of(joints)
    return dataclasses.replace(
        known, name=found.get("name", known.name), limbs=limbs or known.limbs
    )


def _person(annotation, files, folder: Path, path: Path) -> Person:
    numbers = np.array(annotation["keypoints"], np.float64)
    if numbers.size % 3:
        raise ValueError(
            f"{path}: annotation {annotation.get('id')}: expected x, y and visibility of each "
            f"joint. Found {numbers.size} keypoints."
        )
    joints = numbers.reshape(-1, 3)
    # COCO labels the corner of a pixel, and 2 for seen, 1 for hidden.
    joints = np.column_stack([joints[:, :2] - 0.5, joints[:, 2] > 0])
    box = annotation.get("bbox")
    return Person(
        str(folder / files[annotation["image_id"]]), joints, None if box is None else tuple(box)
    )
