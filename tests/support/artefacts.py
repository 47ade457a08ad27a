"""One small network in every format, for tests that read files and do not care how they came."""

from __future__ import annotations

import fcntl
from pathlib import Path

import levit_tf
from converters import to_pytorch
from converters.to_onnx import to_onnx
from converters.to_saved_model import to_saved_model
from converters.to_tflite import to_tflite
from tests.support.export_cases import CLASSES, rgb_images, shared_model

NAMES = tuple(f"Name {n}, é" for n in range(CLASSES))
WIDE = (32, 48)  # height and width of "wide_saved_model", which has two heads to average


class Artefacts:
    """Files of `shared_model()`, which are not to be changed: `artefacts["fp32.tflite"]` is a path.

    Each is made when it is first asked for, by one of the processes that share the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def __getitem__(self, name: str) -> Path:
        path, made = self.folder / name, self.folder / f"{name}.made"
        with open(self.folder / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                self._make(name, path)
                made.touch()
        return path

    def _make(self, name: str, path: Path) -> None:
        model = shared_model()
        calibrated = {"calibration_images": rgb_images(32, seed=3), "class_names": NAMES}
        match name:
            case "model.keras":
                model.save(path)
            case "fused.keras":
                levit_tf.fuse(model).save(path)
            case "saved_model":
                to_saved_model(model, path, class_names=NAMES)
            case "wide_saved_model":
                to_saved_model(shared_model(heads="both", input_shape=(*WIDE, 3)), path)
            case "fp32.tflite":
                to_tflite(model, path, class_names=NAMES)
            case "int8.tflite":
                to_tflite(model, path, recipe="int8", **calibrated)
            case "int8_full.tflite":
                to_tflite(model, path, recipe="int8_full", **calibrated)
            case "model.onnx":
                to_onnx(model, path, class_names=NAMES)
            case "int8.onnx":
                to_onnx(model, path, recipe="int8", **calibrated)
            case "timm.safetensors":
                to_pytorch.convert(self["model.keras"], path, "timm")
            case _:
                raise KeyError(name)
