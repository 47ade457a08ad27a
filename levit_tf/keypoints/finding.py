"""Finds joints in pictures of any size with any file of a network that finds joints."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from levit_common.regular_files import ModelFileError
from levit_common.shipped_names import KEYPOINTS
from levit_tf.keypoints.regions import Box, cut, is_box
from levit_tf.keypoints.skeletons import Skeleton, skeleton_of
from levit_tf.keypoints.whole_picture import fit_picture, to_picture
from levit_tf.prediction.network_files import read_network


class KeypointFinder:
    """Finds the joints of a person; made by `load_finder`.

    Attributes:
      skeleton: the joints.
      input_size: (height, width) that the network sees, pixels.
    """

    def __init__(self, run, input_size: tuple[int, int], skeleton: Skeleton, batch: int | None):
        self._run, self._batch = run, batch
        self.input_size, self.skeleton = tuple(input_size), skeleton

    def find(self, picture: np.ndarray, box: Box | None = None) -> np.ndarray:
        """Finds the joints of one person.

        Args:
          picture: uint8 RGB (height, width, 3).
          box: (left, top, width, height) of the person, pixels; by default the whole picture.

        Returns:
          float32 (joints, 3): x, y in pixels of `picture`, the middle of the first being 0, and
          confidence 0..1.

        Raises:
          ValueError: a box without a size, or one outside of the picture; or the network answers
            with what is not a number.
        """
        height, width = picture.shape[:2]
        if box is not None and not is_box(box, (height, width)):
            raise ValueError(
                "The box is LEFT,TOP,WIDTH,HEIGHT in pixels of the picture, which has "
                f"{width}x{height}. Received: {box}"
            )
        if box is None:
            found = self._run_on(fit_picture(picture, self.input_size))
            x, y = to_picture(found[:, 0], found[:, 1], height, width, self.input_size)
            return np.column_stack([x, y, found[:, 2]]).astype(np.float32)
        pixels, (scale, x, y) = cut(picture, box, self.input_size)
        found = self._run_on(pixels)
        return np.column_stack([found[:, :2] * scale + (x, y), found[:, 2]]).astype(np.float32)

    def _run_on(self, pixels: np.ndarray) -> np.ndarray:
        """(joints, 3) in the input's pixels."""
        images = np.repeat(pixels[None].astype(np.float32), self._batch or 1, axis=0)
        found = self._run(images)[KEYPOINTS][0].astype(np.float32)
        if not np.isfinite(found).all():
            raise ValueError("The network answers with what is not a number: damaged weights.")
        return found


def load_finder(
    path: str | os.PathLike, input_range: str | None = None, trust: bool = False
) -> KeypointFinder:
    """Loads a network.

    Args:
      path: what `python -m training.main --config=keypoints` or a converter wrote: `.keras`,
        `.tflite`, `.onnx` or a SavedModel; or the folder of such a run.
      input_range: see `levit_tf.prediction.network_files.read_network`.
      trust: see there.

    Raises:
      ModelFileError: no such file, or one of another network.
    """
    path = Path(path)
    if (path / "final.keras").is_file():
        path = path / "final.keras"
    if not path.exists():
        raise ModelFileError(f"{path}: no such file.")
    network = read_network(path, input_range, trust)
    shape = network.output_shapes.get(KEYPOINTS)
    if shape is None or None in network.input_shape[1:]:
        raise ModelFileError(
            f"{path}: finds no joints: expected an output {KEYPOINTS!r}, such as python -m "
            f"training.main --config=keypoints writes. Found: {', '.join(network.output_shapes)}"
        )
    names = network.class_names or tuple(f"joint_{n}" for n in range(shape[1]))
    batch, *size, _ = network.input_shape
    return KeypointFinder(network.outputs, tuple(size), skeleton_of(names), batch)
