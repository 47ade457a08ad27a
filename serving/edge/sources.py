"""Sources of pictures for a network: files, a watched folder, cameras and videos.

Each source yields a JSON-serialisable description of a picture, and the picture: uint8 of the
network's size, or the `ImageError` that says why it cannot be read.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from levit_common.picture_files import expanded, is_passed_over
from levit_lite.cropping import resize_and_center_crop
from levit_lite.images import ImageError, load_cropped

Found = tuple[dict[str, Any], np.ndarray | ImageError]


def of_files(paths: Sequence[str], size: tuple[int, int]) -> Iterator[Found]:
    """Yields the pictures in files; for a folder, its files that are pictures.

    Args:
      paths: paths of files and folders.
      size: (height, width) of the network's input, pixels.
    """
    for path in expanded(paths):
        if os.path.isdir(path):
            yield {"name": path}, ImageError(f"{path}: no pictures in this folder.")
        else:
            yield {"name": path}, _loaded(path, size)


def of_watched_folder(
    folder: str, size: tuple[int, int], seconds: float, rounds: int | None = None
) -> Iterator[Found]:
    """Yields the pictures of a folder: first those that exist, then those that appear or change.

    A file is read when it has not changed between two scans, so that none is read half written.
    Hidden files and system files are skipped, and so are sub-folders.

    Args:
      folder: the folder.
      size: (height, width) of the network's input, pixels.
      seconds: time between two scans.
      rounds: number of scans; None for no end.

    Raises:
      ValueError: the folder does not exist, or no longer.
    """
    seen: dict[str, tuple[int, int]] = {}  # name -> size and time of the file when it was read
    before: dict[str, tuple[int, int]] = {}
    looks = 0
    while rounds is None or looks < rounds:
        looks += 1
        now = _states(folder)
        for name in sorted(now, key=lambda name: (now[name][1], name)):
            if before.get(name) == now[name] != seen.get(name):
                path = os.path.join(folder, name)
                yield {"name": path}, _loaded(path, size)
                seen[name] = now[name]
        seen = {name: state for name, state in seen.items() if name in now}
        before = now
        time.sleep(seconds)


def of_video(source: str | int, size: tuple[int, int], seconds: float) -> Iterator[Found]:
    """Yields the frames of a camera or of a video file.

    Args:
      source: index of a camera, or path of a file.
      size: (height, width) of the network's input, pixels.
      seconds: time between two classified frames; 0 for all frames. Those between are skipped; from
        a camera, the newest frame is always taken.

    Raises:
      ValueError: it cannot be opened, or has no frames.
      ImportError: OpenCV or Pillow is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            "A camera or a video needs OpenCV: pip install opencv-python-headless"
        ) from error
    from PIL import Image

    is_camera = isinstance(source, int)
    what = f"camera {source}" if is_camera else str(source)
    capture = cv2.VideoCapture(source)
    try:
        if not capture.isOpened():
            raise ValueError(f"{what}: cannot be opened; expected {_expected(is_camera)}.")
        # The camera should buffer as few old frames as possible.
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
        start, due, number = time.monotonic(), 0.0, -1
        while capture.grab():
            number += 1
            at = time.monotonic() - start if is_camera else number / rate
            if at < due:
                continue
            read, frame = capture.retrieve()
            if not read:
                break
            due = at + seconds
            image = Image.fromarray(np.ascontiguousarray(frame[..., ::-1]))  # BGR -> RGB
            about = {"name": what, "frame": number, "seconds": round(at, 3)}
            yield about, resize_and_center_crop(image, size)
        if number < 0:
            raise ValueError(f"{what}: no frame comes; expected {_expected(is_camera)}.")
    finally:
        capture.release()


def _expected(is_camera: bool) -> str:
    return "the number of a camera that is free" if is_camera else "a video that OpenCV reads"


def _loaded(path: str, size: tuple[int, int]) -> np.ndarray | ImageError:
    try:
        return load_cropped(path, size)
    except ImageError as error:
        return error


def _states(folder: str) -> dict[str, tuple[int, int]]:
    """Returns the size and modification time of the files in a folder, by name."""
    found = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_passed_over(entry.name) or not entry.is_file():
                    continue
                with contextlib.suppress(FileNotFoundError):  # it was deleted in the meantime
                    state = entry.stat()
                    found[entry.name] = (state.st_size, state.st_mtime_ns)
    except FileNotFoundError as error:
        raise ValueError(f"{folder}: no such folder, or not any more.") from error
    except NotADirectoryError as error:
        raise ValueError(f"{folder}: expected a folder to watch; it is a file.") from error
    return found
