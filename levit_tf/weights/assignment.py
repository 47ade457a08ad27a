"""Assigns named arrays to the variables of a LeViT: by name, and all or nothing.

Everything that does not fit is collected first and raised as one error, before anything is
assigned. So a failed load leaves the model unchanged.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence

import keras
import numpy as np

from levit_tf.attention_bias import Grid, resize_attention_bias
from levit_tf.keras_graph.introspection import grids_of
from levit_tf.variants import Variant
from levit_tf.weights.pytorch_names import Entry, name_table


@dataclasses.dataclass
class TransferReport:
    """What was done with each variable; variables are given by Keras path.

    Attributes:
      copied: variables copied without change.
      resized: attention biases resized to another grid: path -> (source grid, target grid).
      adapted: the first convolution, if adapted to another number of input channels.
      initialised: variables of heads that keep their initial values.
      dropped: heads of the source that the model does not have, or has with other classes.
    """

    copied: list[str] = dataclasses.field(default_factory=list)
    resized: dict[str, tuple[Grid, Grid]] = dataclasses.field(default_factory=dict)
    adapted: list[str] = dataclasses.field(default_factory=list)
    initialised: list[str] = dataclasses.field(default_factory=list)
    dropped: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"copied: {len(self.copied)} variables"]
        if self.resized:
            grids = sorted(set(self.resized.values()), reverse=True)
            changes = [f"{grid_text(old)} -> {grid_text(new)}" for old, new in grids]
            lines.append(
                f"resized: {len(self.resized)} attention bias tables, grids {', '.join(changes)}"
            )
        for title, paths in (
            ("adapted to the input channels", self.adapted),
            ("freshly initialised", self.initialised),
            ("dropped", self.dropped),
        ):
            if paths:
                lines.append(f"{title}: {', '.join(paths)}")
        return "\n".join(lines)


def grid_text(grid: Grid) -> str:
    """Formats a grid: (14, 20) as "14x20"."""
    return f"{grid[0]}x{grid[1]}"


def listed(problems: Mapping[str, Sequence[str]]) -> str:
    """Formats problems of a load, by kind, as the end of an error message; "" without problems."""
    return "".join(
        f"\n{title} ({len(lines)}):" + "".join(f"\n  {line}" for line in lines)
        for title, lines in problems.items()
        if lines
    )


def source_grids(
    model: keras.Model,
    variant: Variant,
    arrays: Mapping[str, np.ndarray],
    source: str,
    source_size: tuple[int, int] | None = None,
) -> list[Grid]:
    """Returns the token grids that the bias tables in `arrays` belong to.

    The length of a table is the number of tokens of its grid, which does not determine height and
    width. So the result is, in this order: the grids of `source_size` if it is given; the grids of
    the model if all lengths agree with them; else square grids. Grids of the same area, such as
    14x14 and 7x28, cannot be distinguished: give `source_size` for a source trained on a non-square
    size other than the model's.

    Args:
      model: the LeViT that the arrays are for.
      variant: variant of the model.
      arrays: arrays by Keras path.
      source: origin of the arrays, for error messages.
      source_size: (height, width) of the images that the source was trained on, pixels.

    Raises:
      ValueError: the grids are not square and `source_size` was not given.
    """
    if source_size is not None:
        return variant.grids(source_size)
    lengths = {
        entry.stage: arrays[entry.path].shape[-1]
        for entry in reversed(name_table(variant))
        if entry.stage is not None and entry.path in arrays and arrays[entry.path].ndim == 2
    }
    own = grids_of(model)
    fits = all(length == math.prod(own[stage]) for stage, length in lengths.items())
    if fits or 0 not in lengths:
        return own
    side = math.isqrt(lengths[0])
    if side**2 != lengths[0]:
        raise ValueError(
            f"{source}: attention biases for {lengths[0]} tokens, which is neither the model's "
            f"grid of {grid_text(own[0])} nor a square. Say which size it was trained on, "
            "HEIGHTxWIDTH in pixels (--checkpoint_size, checkpoint_size=)."
        )
    return variant.grids((side * variant.stem_stride,) * 2)


@dataclasses.dataclass(frozen=True)
class SourceArrays:
    """Arrays for a LeViT, from any source.

    Attributes:
      name: origin of the arrays, for error messages.
      arrays: arrays by Keras path, in Keras layout.
      grids: token grid of each stage; see `source_grids`.
      unexpected: names that no LeViT of this variant has.
      problems: other problems, one line each, raised together with those that `assign` finds.
      describe: function from (entry, Keras shape) to (name, shape) in the source's notation, for
        error messages; by default Keras' notation.
    """

    name: str
    arrays: Mapping[str, np.ndarray]
    grids: Sequence[Grid]
    unexpected: Sequence[str] = ()
    problems: Sequence[str] = ()
    describe: Callable[[Entry, tuple], tuple[str, tuple]] = lambda entry, shape: (entry.path, shape)


def assign(
    model: keras.Model, variant: Variant, source: SourceArrays, new_heads: Collection[str] = ()
) -> TransferReport:
    """Assigns arrays to the variables of `model` with the same path.

    Heads that the model does not have are dropped; every other array must have a variable, and
    every variable an array.

    Args:
      model: a LeViT in train form, with or without the top. Layers around it are not changed.
      variant: variant of the model.
      source: the arrays.
      new_heads: heads of the model, from `HEAD_PREFIXES`, that keep their initial values; the
        source's are dropped.

    Returns:
      A report of what was done.

    Raises:
      ValueError: something does not fit. Then nothing was assigned.
    """
    variables = {variable.path: variable for variable in model.weights}
    done, values = _fitted(variables, grids_of(model), variant, source, new_heads)
    for path, value in values.items():
        variables[path].assign(value)
    return done


def _fitted(
    variables: Mapping[str, keras.Variable],
    targets: Sequence[Grid],
    variant: Variant,
    source: SourceArrays,
    new_heads: Collection[str],
) -> tuple[TransferReport, dict[str, np.ndarray]]:
    """Returns the report and the new value of each variable; raises like `assign`."""
    grids, describe = source.grids, source.describe
    done, values = TransferReport(), {}
    missing, misshapen, absent = [], [], []
    for entry in name_table(variant):
        path, array = entry.path, source.arrays.get(entry.path)
        is_new = path.startswith(tuple(new_heads))
        if entry.in_heads and (is_new or path not in variables):
            if path in variables:
                done.initialised.append(path)
            if array is not None:
                done.dropped.append(path)
            continue
        if path not in variables:
            absent.append(path)
            continue
        wanted = tuple(variables[path].shape)
        if array is None:
            name, shape = describe(entry, wanted)
            missing.append(f"{name}, shape {shape}")
            continue
        expected = wanted if entry.stage is None else (wanted[0], math.prod(grids[entry.stage]))
        if array.shape != expected:
            name, shape = describe(entry, array.shape)
            misshapen.append(f"{name}: {shape}, the model needs {describe(entry, expected)[1]}")
        elif entry.stage is None or tuple(grids[entry.stage]) == tuple(targets[entry.stage]):
            done.copied.append(path)
            values[path] = array
        else:
            done.resized[path] = (tuple(grids[entry.stage]), tuple(targets[entry.stage]))
            values[path] = resize_attention_bias(array, *done.resized[path])

    text = listed(
        {
            "missing": missing,
            "unexpected": source.unexpected,
            "of another shape": misshapen,
            "not in the model": absent,
            "wrong": source.problems,
        }
    )
    if text:
        height, width = (side * variant.stem_stride for side in targets[0])
        raise ValueError(
            f"{source.name} does not fit {variant.name} for images of {height}x{width}. "
            f"Nothing was loaded.{text}"
        )
    return done, values
