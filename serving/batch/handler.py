"""LiteRT as a model handler: what `RunInference` runs, and what a shard is classified by."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from apache_beam.io.filesystems import FileSystems
from apache_beam.ml.inference.base import ModelHandler

from levit_common.arrays import softmax
from levit_common.shipped_names import EXIT, LOGITS, PROBABILITIES
from levit_lite.class_names import check_class_names, top_classes
from levit_lite.prediction.network import Network, checked
from levit_lite.prediction.predictor import class_count, class_names_for
from levit_lite.prediction.tflite_network import tflite_network


class LiteRTModelHandler(ModelHandler[np.ndarray, dict[str, np.ndarray], Network]):
    """Runs a `.tflite` file on pictures: uint8 (height, width, 3) -> its outputs by name.

    Args:
      path: of the file, on any file system that Beam knows.
      threads: that LiteRT computes with.
    """

    def __init__(self, path: str, threads: int = 1):
        super().__init__()
        self._path = path
        self._threads = threads

    def load_model(self) -> Network:
        """Opens the file, once in a process."""
        if os.path.isfile(self._path):
            return self._open(Path(self._path))
        with tempfile.TemporaryDirectory() as scratch, FileSystems.open(self._path) as remote:
            local = Path(scratch, "model.tflite")
            local.write_bytes(remote.read())
            return self._open(local)

    def _open(self, path: Path) -> Network:
        return checked(tflite_network(path, self._threads, run_first=False))

    def run_inference(
        self,
        batch: Sequence[np.ndarray],
        model: Network,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[dict[str, np.ndarray]]:
        """Outputs of each picture; a file takes one at a time, or its own number of them."""
        step = model.input_shape[0] or len(batch)
        for start in range(0, len(batch), step):
            images = np.stack(batch[start : start + step]).astype(np.float32)
            count = len(images)
            images = np.pad(images, [(0, step - count), (0, 0), (0, 0), (0, 0)])
            outputs = model.outputs(images)
            for n in range(count):
                yield {name: values[n] for name, values in outputs.items()}


def names_of_classes(network: Network, labels: Sequence[str] | None) -> list[str] | None:
    """The names of a classifier's classes; None for what is none."""
    if network.classes is None:
        return None
    if labels is not None:
        return check_class_names(labels, class_count(network), "--labels")
    return class_names_for(None, (), class_count(network), network.class_names)


def described(
    outputs: dict[str, np.ndarray], class_names: Sequence[str] | None, top: int, level: str | None
) -> dict[str, Any]:
    """What is written of a picture.

    Args:
      outputs: of the network, by name.
      class_names: see `names_of_classes`.
      top: how many classes to name.
      level: the output that is written as "embedding"; None without.

    Raises:
      ValueError: the network answers with NaN.
    """
    found: dict[str, Any] = {}
    if level is not None:
        found["embedding"] = [float(x) for x in outputs[level].ravel()]
    if class_names is not None:
        scores = outputs.get(PROBABILITIES)
        scores = softmax(outputs[LOGITS]) if scores is None else scores
        if len(scores) == 1:
            scores = np.concatenate([1 - scores, scores])
        if not np.isfinite(scores).all():
            raise ValueError("the network answers NaN: its weights are damaged.")
        best = top_classes(scores[None], min(top, len(class_names)))[0]
        found["top"] = [
            {
                "class": class_names[index],
                "index": int(index),
                "probability": round(float(scores[index]), 6),
            }
            for index in best
        ]
    if EXIT in outputs:
        found["exit"] = int(outputs[EXIT])
    return found
