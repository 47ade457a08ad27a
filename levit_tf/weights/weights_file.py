"""Reads the arrays in Keras' weight files by layer name.

Keras itself matches layers by their position among layers of the same class, so it may load parts
of a file of another network. The file also contains the layer names as attributes, used here.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np

from levit_tf.opening.keras_files import check_keras_file
from levit_tf.opening.weight_files import check_weights_file


def read_weights_file(path: str, order: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """Returns arrays by the path of their variable; nothing in the file is deserialised.

    Args:
      path: a `.keras` or `.weights.h5` file.
      order: for each layer path ("layer/sublayer"), the paths of its variables in the order in
        which Keras stores them. An array that is not listed is named "LAYER/POSITION".

    Raises:
      ValueError: the file is truncated or of another kind.
    """
    import h5py

    (check_keras_file if path.endswith(".keras") else check_weights_file)(path)
    arrays = {}

    def visit(group, layers):
        if "vars" in group:
            stored = group["vars"]
            layers = [*layers, stored.attrs.get("name", "?")]
            layer = "/".join(layers)
            names = order.get(layer, ())
            for position in stored:
                known = int(position) < len(names)
                name = names[int(position)] if known else f"{layer}/{position}"
                arrays[name] = np.asarray(stored[position])
        for name, child in group.items():
            if name != "vars" and isinstance(child, h5py.Group):
                visit(child, layers)

    try:
        file = path
        if path.endswith(".keras"):
            with zipfile.ZipFile(path) as archive:
                file = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(file) as stored:
            visit(stored["layers"], [])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: truncated, or not a weights file of Keras 3 ({error}). Delete or replace it."
        ) from error
    return arrays
