"""Variables of Keras 3 and tf_keras: access to TensorFlow's variables and to their names."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

Variable = keras.Variable | tf.Variable


def raw(variable: Variable) -> tf.Variable:
    """Returns the TensorFlow variable of a Keras 3 variable; a tf_keras variable already is one."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def unique_name(variable: Variable) -> str:
    """Returns the name of a variable within its model: "stem_conv1/linear/kernel"."""
    if isinstance(variable, keras.Variable):
        return variable.path
    return variable.name.removesuffix(":0")


def own_name(variable: Variable) -> str:
    """Returns the last part of a variable's name: "kernel"."""
    return unique_name(variable).rpartition("/")[2]


def update_copies(
    update: Callable[..., None],
    variables: Sequence[tf.Variable],
    *columns: Sequence[tf.Tensor | tf.Variable],
    shared: Sequence[tf.Tensor] = (),
) -> None:
    """Updates each device's copy of every variable, in replica context.

    As in Keras' optimizers, every device updates its own copy, without communication.

    Args:
      update: called with the index of a variable, a copy of it, the values of the columns for it,
        and `shared`. For values that have copies themselves, it gets the copy of the same device.
      variables: variables that the strategy replicates.
      *columns: sequences with one value per variable.
      shared: values that are the same for all variables.
    """

    def on_each_device(strategy, columns, shared):
        for number, variable in enumerate(variables):
            row = [column[number] for column in columns]
            one = functools.partial(update, number)
            strategy.extended.update(variable, one, args=(*row, shared), group=False)

    merge_call = tf.__internal__.distribute.interim.maybe_merge_call
    columns, shared = [list(column) for column in columns], list(shared)
    merge_call(on_each_device, tf.distribute.get_strategy(), columns, shared)
