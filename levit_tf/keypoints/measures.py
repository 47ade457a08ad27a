"""Measures of found joints: PCK, PCKh and the mean distance (MPJPE)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from levit_tf.keypoints.skeletons import Skeleton


class NotFiniteError(ValueError):
    """A network finds what is not a number, or its loss is none."""


@dataclasses.dataclass(frozen=True)
class Quality:
    """Over the labelled joints of a set.

    Attributes:
      pck: share of the joints that are off by at most 0.2 of the person's torso; None without one.
      pckh: by at most half of the head's length; None without one.
      mpjpe: mean distance in pixels of the picture.
      by_joint: name -> share by `pck`, or mean distance where there is no torso.
      joints: how many were compared.
      people: in how many of them a torso was labelled, which `pck` needs.
    """

    pck: float | None
    pckh: float | None
    mpjpe: float
    by_joint: Mapping[str, float]
    joints: int
    people: int


def measure(found: np.ndarray, labelled: np.ndarray, skeleton: Skeleton) -> Quality:
    """Compares joints with what was labelled.

    Args:
      found: (people, joints, 2 or more): x, y in pixels.
      labelled: (people, joints, 3): x, y in pixels, and whether the joint is labelled.
      skeleton: the joints.

    Raises:
      NotFiniteError: a found joint is not a number.
      ValueError: the shapes differ, or nothing is labelled.
    """
    count = len(skeleton.joints)
    if found.shape[:2] != labelled.shape[:2] or labelled.shape[1:] != (count, 3):
        raise ValueError(
            f"Expected found joints (people, {count}, 2) and labelled ones (people, {count}, 3). "
            f"Received: {found.shape} and {labelled.shape}"
        )
    there = labelled[..., 2] > 0
    if not there.any():
        raise ValueError(f"None of the joints of {len(labelled)} people is labelled.")
    distance = np.linalg.norm(found[..., :2] - labelled[..., :2], axis=-1)  # (people, joints)
    if not np.isfinite(distance[there]).all():
        raise NotFiniteError("Found joints are not numbers: the weights are damaged, or diverged.")
    pck, hits, people = _share(distance, labelled, there, skeleton, skeleton.torso, 0.2)
    pckh, _, _ = _share(distance, labelled, there, skeleton, skeleton.head, 0.5)
    by_joint = {
        name: float(np.mean(values[:, n][counted[:, n]]))
        for values, counted in ([(distance, there)] if hits is None else [hits])
        for n, name in enumerate(skeleton.joints)
        if counted[:, n].any()
    }
    return Quality(pck, pckh, float(distance[there].mean()), by_joint, int(there.sum()), people)


def _share(distance, labelled, there, skeleton, ends, share):
    """(share within reach, (hits, counted), people) by a distance of each person's own."""
    if ends is None:
        return None, None, 0
    first, second = skeleton.pair(ends)
    length = np.linalg.norm(labelled[:, first, :2] - labelled[:, second, :2], axis=-1)
    known = there[:, first] & there[:, second] & (length > 0)
    counted = there & known[:, None]
    if not counted.any():
        return None, None, 0
    hits = distance <= share * length[:, None]
    return float(hits[counted].mean()), (hits, counted), int(known.sum())
