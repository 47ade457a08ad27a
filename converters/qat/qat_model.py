"""The file of a network that was trained for int8: a `.keras` file that carries learned ranges.

To Keras it is an ordinary fused LeViT of float weights. One more entry of the archive holds what
the int8 file needs beside them.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shlex
import zipfile
from collections.abc import Mapping
from pathlib import Path

import keras

from converters.choices import TARGETS
from levit_tf.weights.keras_files import ModelFileError, load_keras_file

# Name of a layer -> (smallest, largest) value of its output.
LayerRanges = Mapping[str, tuple[float, float]]

_ENTRY = "quantization.json"


@dataclasses.dataclass(frozen=True)
class QuantizedModel:
    """A network that was trained with the rounding of its int8 file.

    Attributes:
      model: fused, normalised pixels -> probabilities, or joints; its weights are rounded as in
        the file, its activations are not.
      target: one of `TARGETS`.
      ranges: of the outputs that are rounded.
    """

    model: keras.Model
    target: str
    ranges: LayerRanges

    def save(self, path: str | os.PathLike) -> None:
        """Writes the `.keras` file."""
        self.model.save(path)
        content = {"target": self.target, "ranges": self.ranges}
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(_ENTRY, json.dumps(content, indent=2))


def load_quantized(path: str | os.PathLike) -> QuantizedModel:
    """Loads what `QuantizedModel.save` wrote.

    Raises:
      FileNotFoundError: there is no such file.
      ModelFileError: it is damaged, or was not trained for int8.
    """
    path = Path(path)
    model = load_keras_file(path)
    with zipfile.ZipFile(path) as archive:
        if _ENTRY not in archive.namelist():
            raise ModelFileError(
                f"{path}: holds no learned ranges, so it was not trained for int8. To train it: "
                "python -m training.main --config=... --set=qat=int8 "
                f"{shlex.quote(f'--set=init_from={path}')}. "
                "Without training: python -m converters.to_tflite --recipe=int8."
            )
        text = archive.read(_ENTRY)
    try:
        content = json.loads(text)
        target = content["target"]
        ranges = {name: _checked(*ends) for name, ends in content["ranges"].items()}
        if target not in TARGETS:
            raise ValueError(f"unknown target {target!r}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{path}: its {_ENTRY} is damaged. ({error})") from error
    return QuantizedModel(model, target, ranges)


def _checked(low: float, high: float) -> tuple[float, float]:
    if not (math.isfinite(low) and math.isfinite(high) and low <= 0 <= high):
        raise ValueError(f"{low}..{high} is no range around 0")
    return low, high
