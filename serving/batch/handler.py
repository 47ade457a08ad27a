"""LiteRT as a Beam model handler, for `RunInference` and for classifying a shard."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from apache_beam.io.filesystems import FileSystems
from apache_beam.ml.inference.base import ModelHandler

from levit_common.arrays import luma, softmax
from levit_common.shipped_names import EXIT, LOGITS, PROBABILITIES
from levit_lite.prediction.answers import answer_of
from levit_lite.prediction.network import Network, checked
from levit_lite.prediction.tflite_network import tflite_network


class LiteRTModelHandler(ModelHandler[np.ndarray, dict[str, np.ndarray], Network]):
    """Runs a `.tflite` file: from pictures, uint8 (height, width, 3), to its outputs by name.

    A network of one channel gets their brightness.

    Args:
      path: path of the file, on any file system that Beam supports.
      threads: number of LiteRT's threads.
    """

    def __init__(self, path: str, threads: int = 1):
        super().__init__()
        self._path = path
        self._threads = threads

    def load_model(self, run_first: bool = False) -> Network:
        """Loads the file, once per process; `run_first` as in `open_tflite`."""
        if os.path.isfile(self._path):
            return self._open(Path(self._path), run_first)
        with tempfile.TemporaryDirectory() as scratch, FileSystems.open(self._path) as remote:
            local = Path(scratch, "model.tflite")
            local.write_bytes(remote.read())
            return self._open(local, run_first)

    def _open(self, path: Path, run_first: bool) -> Network:
        return checked(tflite_network(path, self._threads, run_first))

    def run_inference(
        self,
        batch: Sequence[np.ndarray],
        model: Network,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[dict[str, np.ndarray]]:
        """Yields the outputs of each picture; the file runs on its own batch size, or on any."""
        step = model.input_shape[0] or len(batch)
        for start in range(0, len(batch), step):
            images = np.stack(batch[start : start + step]).astype(np.float32)
            if model.input_shape[3] == 1 and images.shape[3] == 3:
                images = luma(images)
            count = len(images)
            images = np.pad(images, [(0, step - count), (0, 0), (0, 0), (0, 0)])
            outputs = model.outputs(images)
            for n in range(count):
                yield {name: values[n] for name, values in outputs.items()}


def columns_of(network: Network, class_names: Sequence[str] | None, level: str | None) -> list[str]:
    """Returns the keys of a result; arguments as in `described`."""
    return (
        ["name"]
        + ["embedding"] * (level is not None)
        + ["top"] * (class_names is not None)
        + [EXIT] * (class_names is not None and EXIT in network.output_shapes)
    )


def described(
    outputs: dict[str, np.ndarray], class_names: Sequence[str] | None, top: int, level: str | None
) -> dict[str, Any]:
    """Makes the output record of a picture.

    Args:
      outputs: the network's outputs, by name.
      class_names: names of the classes; None for a network that is no classifier.
      top: number of classes to return.
      level: name of the output to write as "embedding"; None for none.

    Raises:
      ValueError: an output is NaN.
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
        found |= answer_of(scores, class_names, top, outputs.get(EXIT))
    return found
