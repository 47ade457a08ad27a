"""Weights of a RegNetY: from a PyTorch state dict, or from Keras files; by name, all or nothing.

Layers are named as timm's modules with underscores for dots, which makes the table of names a rule:
`s1_b1_conv1_conv/kernel` is `s1.b1.conv1.conv.weight`. timm 0.3, which DeiT's checkpoint of the
teacher is from, and timm 1.0 have the same names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import keras
import numpy as np

from levit_tf.weights.assignment import listed
from levit_tf.weights.weights_file import read_weights_file

Shape = tuple[int, ...]

_LEAVES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
FIRST_KEY = "stem.conv.weight"
_COUNTER = ".num_batches_tracked"  # which BatchNorm keeps in PyTorch and Keras has no use for


def pytorch_key(path: str) -> str:
    """The key in a state dict of timm's for the `path` of a Keras variable."""
    layer, leaf = path.rsplit("/", 1)
    return f"{layer.replace('_', '.')}.{_LEAVES[leaf]}"


def load_keras_weights(model: keras.Model, path: str | os.PathLike) -> None:
    """Loads a `.keras` or `.weights.h5` file of the same RegNetY, for any image size.

    Only the arrays are read, by the names of their layers; nothing in the file is deserialised.

    Args:
      model: a result of `RegNetY`.
      path: the file.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is damaged, of another kind, or anything is missing, unexpected or of another
        shape; all of it is listed, and the model is unchanged.
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
    _assign(variables, read_weights_file(path, order), f"{path} does not fit {model.name}")


def load_state_dict(model: keras.Model, state: Mapping[str, np.ndarray], complaint: str) -> None:
    """Loads the arrays of a RegNetY of timm's, by their keys without a prefix.

    Args:
      model: a result of `RegNetY`.
      state: arrays by timm's keys.
      complaint: how the error begins.

    Raises:
      ValueError: anything is missing, unexpected or of another shape; all of it is listed.
    """
    arrays = {key: array for key, array in state.items() if not key.endswith(_COUNTER)}
    variables = {pytorch_key(variable.path): variable for variable in model.weights}
    _assign(variables, arrays, complaint, stored_shape=_pytorch_shape, to_keras=_to_keras)


def _assign(
    variables: Mapping[str, keras.Variable],
    arrays: Mapping[str, np.ndarray],
    complaint: str,
    stored_shape: Callable[[Shape], Shape] = lambda shape: shape,
    to_keras: Callable[[np.ndarray], np.ndarray] = lambda array: array,
) -> None:
    """Assigns arrays to the variables of the same name, or none of them.

    Args:
      variables: by name.
      arrays: by name, as they are stored.
      complaint: how the error begins.
      stored_shape: from the shape of a variable to that of its array.
      to_keras: from an array to the value of its variable.

    Raises:
      ValueError: anything is missing, unexpected or of another shape.
    """
    wanted = {name: stored_shape(tuple(variable.shape)) for name, variable in variables.items()}
    problems = {
        "missing": [f"{n}, shape {shape}" for n, shape in wanted.items() if n not in arrays],
        "unexpected": [f"{n}, shape {a.shape}" for n, a in arrays.items() if n not in wanted],
        "of another shape": [
            f"{name}: {arrays[name].shape}, the model needs {shape}"
            for name, shape in wanted.items()
            if name in arrays and arrays[name].shape != shape
        ],
    }
    if any(problems.values()):
        raise ValueError(f"{complaint}. Nothing was loaded.{listed(problems)}")
    for name, variable in variables.items():
        variable.assign(to_keras(arrays[name]))


def _pytorch_shape(shape: Shape) -> Shape:
    """A Keras shape as PyTorch has it: the inverse of `_to_keras`."""
    if len(shape) == 4:
        height, width, channels, filters = shape
        return filters, channels, height, width
    return tuple(reversed(shape))


def _to_keras(array: np.ndarray) -> np.ndarray:
    """A PyTorch array in Keras' layout. Input channels are those of one group on both sides."""
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)  # (out, in, h, w) -> (h, w, in, out)
    return array.T  # (out, in) -> (in, out), and vectors as they are
