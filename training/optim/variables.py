"""Variables of Keras 3 and of tf_keras alike: TensorFlow's own behind them, and their names."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

Variable = keras.Variable | tf.Variable


def raw(variable: Variable) -> tf.Variable:
    """TensorFlow's variable behind one of Keras 3; of tf_keras it is the variable itself."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def unique_name(variable: Variable) -> str:
    """Name of a variable within its model: "stem_conv1/linear/kernel"."""
    if isinstance(variable, keras.Variable):
        return variable.path
    return variable.name.removesuffix(":0")


def own_name(variable: Variable) -> str:
    """Last part of a variable's name: "kernel"."""
    return unique_name(variable).rpartition("/")[2]


def update_copies(
    update: Callable[..., None],
    variables: Sequence[tf.Variable],
    *columns: Sequence[tf.Tensor | tf.Variable],
    shared: Sequence[tf.Tensor] = (),
) -> None:
    """Updates every device's copy of every variable, in replica context.

    As the optimizers of Keras do: every device moves its own copy, and nothing is communicated.

    Args:
      update: called with the number of a variable, a copy of it, what the columns have for it, and
        `shared`. Of what has copies itself, it gets that of the same device.
      variables: of which the strategy keeps copies.
      *columns: each with a value for every variable.
      shared: values for all of them.
    """

    def on_each_device(strategy, columns, shared):
        for number, variable in enumerate(variables):
            row = [column[number] for column in columns]
            one = functools.partial(update, number)
            strategy.extended.update(variable, one, args=(*row, shared), group=False)

    merge_call = tf.__internal__.distribute.interim.maybe_merge_call
    columns, shared = [list(column) for column in columns], list(shared)
    merge_call(on_each_device, tf.distribute.get_strategy(), columns, shared)
