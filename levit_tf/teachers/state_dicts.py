"""Weights into a teacher, by the names of its layers, all of them or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras
import numpy as np

from levit_tf.weights.assignment import listed

Shape = tuple[int, ...]

# Of a Keras variable -> of a PyTorch parameter.
LEAVES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_COUNTER = ".num_batches_tracked"  # which BatchNorm keeps in PyTorch and Keras has no use for


def load_state_dict(
    model: keras.Model,
    state: Mapping[str, np.ndarray],
    complaint: str,
    key_of: Callable[[str], str],
    is_depthwise: Callable[[str], bool] = lambda path: False,
) -> None:
    """Loads the arrays of a PyTorch network.

    Args:
      model: the Keras network.
      state: arrays by their keys, without a prefix.
      complaint: how the error begins.
      key_of: from the path of a Keras variable to its key.
      is_depthwise: whether the variable of a path is the kernel of a depthwise convolution.

    Raises:
      ValueError: anything is missing, unexpected or of another shape; all of it is listed, and the
        model is unchanged.
    """
    arrays = {key: array for key, array in state.items() if not key.endswith(_COUNTER)}
    variables = {key_of(variable.path): variable for variable in model.weights}
    axes = {
        key: (2, 3, 0, 1) if is_depthwise(variable.path) else (2, 3, 1, 0)
        for key, variable in variables.items()
    }
    stored = {key: _stored_shape(tuple(v.shape), axes[key]) for key, v in variables.items()}
    check_arrays(arrays, stored, complaint)
    for key, variable in variables.items():
        array = arrays[key]
        # (out, in, h, w) -> (h, w, in, out), or of a depthwise one (h, w, out, in); input channels
        # are those of one group on both sides. (out, in) -> (in, out), and vectors as they are.
        variable.assign(array.transpose(axes[key]) if array.ndim == 4 else array.T)


def check_arrays(
    arrays: Mapping[str, np.ndarray], stored: Mapping[str, Shape], complaint: str
) -> None:
    """Checks that every variable has its array, and no array is left over.

    Args:
      arrays: by name, as they are stored.
      stored: the shape that the array of each variable must have, by the same names.
      complaint: how the error begins.

    Raises:
      ValueError: anything is missing, unexpected or of another shape.
    """
    problems = {
        "missing": [f"{n}, shape {shape}" for n, shape in stored.items() if n not in arrays],
        "unexpected": [f"{n}, shape {a.shape}" for n, a in arrays.items() if n not in stored],
        "of another shape": [
            f"{name}: {arrays[name].shape}, the model needs {shape}"
            for name, shape in stored.items()
            if name in arrays and arrays[name].shape != shape
        ],
    }
    if any(problems.values()):
        raise ValueError(f"{complaint}. Nothing was loaded.{listed(problems)}")


def _stored_shape(shape: Shape, axes: tuple[int, ...]) -> Shape:
    """A Keras shape as PyTorch has it."""
    if len(shape) != 4:
        return tuple(reversed(shape))
    stored = [0] * 4
    for here, there in enumerate(axes):
        stored[there] = shape[here]
    return tuple(stored)
