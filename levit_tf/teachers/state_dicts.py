"""Loads the weights of a teacher by layer name, all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras
import numpy as np

from levit_common.spelling import shortened
from levit_tf.weights.assignment import listed

Shape = tuple[int, ...]

# Name of a Keras variable -> name of the PyTorch parameter or buffer.
LEAVES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_COUNTER = ".num_batches_tracked"  # a counter of PyTorch's BatchNorm that Keras does not need


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
      complaint: beginning of the error message.
      key_of: function from the path of a Keras variable to its key.
      is_depthwise: function from the path of a variable to whether it is a depthwise kernel.

    Raises:
      ValueError: arrays are missing, unexpected or of another shape; all of them are listed, and
        the model is unchanged.
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
        # (out, in, h, w) -> (h, w, in, out), or (h, w, out, in) for depthwise kernels; in both,
        # `in` counts the channels of one group. (out, in) -> (in, out); vectors are unchanged.
        variable.assign(array.transpose(axes[key]) if array.ndim == 4 else array.T)


def check_arrays(
    arrays: Mapping[str, np.ndarray], stored: Mapping[str, Shape], complaint: str
) -> None:
    """Checks that every variable has an array, and every array a variable.

    Args:
      arrays: stored arrays by name.
      stored: expected shape of each array, by the same names.
      complaint: beginning of the error message.

    Raises:
      ValueError: arrays are missing, unexpected or of another shape; all of them are listed, unless
        most are missing, as in the file of another network.
    """
    known = [name for name in stored if name in arrays]
    if len(known) < len(stored) / 2:
        raise ValueError(
            f"{complaint}: probably another network. Of {len(stored)} arrays, {len(known)} are "
            f"there. The file has {shortened(list(arrays)) or 'none'}."
        )
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
    """Returns the PyTorch shape for a Keras shape."""
    if len(shape) != 4:
        return tuple(reversed(shape))
    stored = [0] * 4
    for here, there in enumerate(axes):
        stored[there] = shape[here]
    return tuple(stored)
