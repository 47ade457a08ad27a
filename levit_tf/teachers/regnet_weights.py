"""PyTorch names of a RegNetY's weights, and loading its weights from Keras files, all or nothing.

Layers are named like timm's modules with underscores instead of dots, so the names follow a rule:
`s1_b1_conv1_conv/kernel` is `s1.b1.conv1.conv.weight`. timm 1.0 has the same names as timm 0.3,
with which DeiT's checkpoint of the teacher was written.
"""

from __future__ import annotations

import os

import keras

from levit_tf.teachers.state_dicts import LEAVES, check_arrays
from levit_tf.weights.weights_file import read_weights_file

FIRST_KEY = "stem.conv.weight"


def pytorch_key(path: str) -> str:
    """Returns the key in timm's state dict for the `path` of a Keras variable."""
    layer, leaf = path.rsplit("/", 1)
    return f"{layer.replace('_', '.')}.{LEAVES[leaf]}"


def load_keras_weights(model: keras.Model, path: str | os.PathLike) -> None:
    """Loads a `.keras` or `.weights.h5` file of the same RegNetY, for any image size.

    Only the arrays are read, by layer name; nothing in the file is deserialised.

    Args:
      model: a result of `RegNetY`.
      path: the file.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged or of another kind, or arrays are missing, unexpected or of
        another shape; all of them are listed, and the model is unchanged.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such file.")
    if not path.endswith((".keras", ".weights.h5")):
        raise ValueError(
            f"{path}: expected a .keras or .weights.h5 file. A PyTorch checkpoint is converted "
            "first: python -m converters.from_pytorch_regnet --checkpoint=FILE --output=FILE"
        )
    order = {layer.name: [w.path for w in layer.weights] for layer in model.layers}
    variables = {variable.path: variable for variable in model.weights}
    arrays = read_weights_file(path, order)
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    check_arrays(arrays, shapes, f"{path} does not fit {model.name}")
    for name, variable in variables.items():
        variable.assign(arrays[name])
