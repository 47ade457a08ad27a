"""Converts PyTorch state dicts of the three codebases to a Keras LeViT, and back.

Works on numpy arrays by name and does not need torch; `checkpoint_files` reads the files, and
`pytorch_names` contains the names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from levit_common.choices import FLAVOURS
from levit_tf.attention_bias import Grid, attention_bias_index
from levit_tf.keras_graph.endings import is_activation
from levit_tf.keras_graph.flatten import is_inactive
from levit_tf.keras_graph.graph_calls import calls_of
from levit_tf.keras_graph.introspection import classifier_of, grids_of, variant_of
from levit_tf.variants import Variant
from levit_tf.weights.assignment import (
    SourceArrays,
    TransferReport,
    assign,
    grid_text,
    source_grids,
)
from levit_tf.weights.pytorch_names import (
    HEAD_PREFIXES,
    Entry,
    Layout,
    name_table,
    to_keras,
    to_pytorch,
)
from levit_tf.weights.pytorch_recognition import CheckpointInfo, canonical, recognise

_COUNTER = "num_batches_tracked"
_INDEX = "attention_bias_idxs"


@dataclasses.dataclass
class ImportReport(TransferReport):
    """Report of an import; variables are given by Keras path, everything else by key.

    Attributes:
      info: flavour, variant, classes and heads of the checkpoint.
      ignored: buffers that a Keras model does not need. Index buffers were checked before.
      notes: readable notes that say which part of the file was read, if it contains more.
    """

    info: CheckpointInfo | None = None
    ignored: list[str] = dataclasses.field(default_factory=list)
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        checkpoint = "; ".join([str(self.info), *self.notes])
        return (
            f"checkpoint: {checkpoint}\n{super().__str__()}\nignored: {len(self.ignored)} buffers"
        )


def load_state_dict(
    model: keras.Model,
    state: Mapping[str, np.ndarray],
    *,
    variant: Variant | str | None = None,
    info: CheckpointInfo | None = None,
    checkpoint_size: tuple[int, int] | None = None,
    new_heads: bool = False,
    source: str = "the state dict",
) -> ImportReport:
    """Loads a PyTorch state dict into a Keras LeViT.

    Args:
      model: a LeViT in train form. With `heads="single"` it receives the class head of a checkpoint
        with two heads; without the top it receives no head.
      state: arrays by key, of any flavour; see `checkpoint_files.read_checkpoint`.
      variant: variant of the model; by default it is derived from the model.
      info: result of `recognise` for `state`, if it is known already; it then defines `variant`.
      checkpoint_size: (height, width) of the images that the checkpoint was trained on, pixels;
        needed only if `assignment.source_grids` cannot find the grids.
      new_heads: whether the model's heads keep their initial values, for other classes.
      source: origin of the state dict, for error messages.

    Returns:
      A report: copied, resized, initialised, dropped, ignored.

    Raises:
      ValueError: the flavour is unknown, or arrays are missing, unexpected or of another shape; all
        of them are listed, and the model is unchanged.
    """
    if info is None:
        variant = variant_of(model) if variant is None else variant
        info = recognise(state, variant=variant, source=source)
    notes = getattr(state, "notes", ())
    state = canonical(state, info.flavour, info.prefix)
    table = name_table(info.variant)
    by_key = {entry.key(info.flavour): entry for entry in table}
    arrays = {
        entry.path: to_keras(state[key], entry.layout)
        for key, entry in by_key.items()
        if key in state
    }
    grids = source_grids(model, info.variant, arrays, source, checkpoint_size)
    buffers = [key for key in state if key.rsplit(".", 1)[-1] in (_COUNTER, _INDEX)]
    found = SourceArrays(
        f"{source} ({info.flavour} naming)",
        arrays,
        grids,
        unexpected=[
            f"{key}, shape {state[key].shape}"
            for key in state
            if key not in by_key and key not in buffers
        ],
        problems=_index_problems(state, table, info.flavour, grids),
        describe=lambda entry, shape: (
            entry.key(info.flavour),
            _pytorch_shape(shape, entry.layout, info.flavour),
        ),
    )
    done = assign(model, info.variant, found, HEAD_PREFIXES if new_heads else ())
    return ImportReport(**vars(done), info=info, ignored=buffers, notes=notes)


def to_state_dict(model: keras.Model, flavour: str) -> dict[str, np.ndarray]:
    """Returns the weights of a Keras LeViT as a state dict that PyTorch loads with `strict=True`.

    Args:
      model: a LeViT in train form with the top. With two heads it becomes the distilled model of
        the codebase (Hugging Face: `LevitForImageClassificationWithTeacher`), with one head the
        plain model.
      flavour: one of `FLAVOURS`.

    Returns:
      Arrays by key in the order of the network, including all buffers that `flavour` registers.

    Raises:
      ValueError: unknown flavour; not a LeViT in train form; a LeViT with attention windows or
        with more layers than its own; or a LeViT that the codebase cannot build: the official code
        and Hugging Face support only hard-swish, four stem convolutions and square inputs.
    """
    if flavour not in FLAVOURS:
        raise ValueError(f"Unknown format {flavour!r}. Known: {', '.join(FLAVOURS)}.")
    variant, grids = variant_of(model), grids_of(model)
    if classifier_of(model) is None:
        raise ValueError(
            f"Model {model.name!r} has no classification head (include_top=False); {flavour} "
            "state dicts have one."
        )
    _check_expressible(variant, grids[0], flavour)
    variables = {variable.path: variable for variable in model.weights}
    table = name_table(variant)
    _check_plain(model, variables.keys() - {entry.path for entry in table})
    state = {}
    for entry in table:
        if entry.path not in variables:
            continue
        key = entry.key(flavour)
        value = keras.ops.convert_to_numpy(variables[entry.path]).astype(np.float32)
        state[key] = to_pytorch(value, entry.layout, flavour)
        prefix, _, leaf = key.rpartition(".")
        if leaf == "running_var":
            state[f"{prefix}.{_COUNTER}"] = np.zeros((), np.int64)
        elif entry.layout is Layout.BIAS_TABLE and flavour == "official":
            index = attention_bias_index(grids[entry.stage], entry.stride)
            state[f"{prefix}.{_INDEX}"] = index.astype(np.int64)
    return state


def _check_plain(model: keras.Model, unknown: Iterable[str]) -> None:
    """Raises ValueError for what no PyTorch codebase has: added layers and attention windows.

    Args:
      model: a LeViT in train form with the top.
      unknown: paths of variables that a LeViT does not have.
    """
    added = sorted({path.partition("/")[0] for path in unknown})
    makers = {id(x): call for call in calls_of(model) for x in call.outputs}
    for tensor in model.outputs:
        call = makers[id(tensor)]
        while _is_left_to_the_user(call.operation):
            call = makers[id(call.inputs[0])]
        if call.operation is not classifier_of(model):
            added.append(call.operation.name)
    if added:
        raise ValueError(
            f"Model {model.name!r} is more than a LeViT, and would be written without its layer "
            f"{added[0]!r}."
        )
    for layer in model.layers:
        if getattr(layer, "window", None) is not None:
            raise ValueError(
                f"Model {model.name!r} has attention windows (layer {layer.name!r}), which no "
                "PyTorch codebase has."
            )


def _is_left_to_the_user(operation: Any) -> bool:
    """Returns whether PyTorch codebases leave to their user what is done behind the heads."""
    is_note = isinstance(operation, keras.layers.Identity)
    return is_note or is_inactive(operation) or is_activation(operation)


def _check_expressible(variant: Variant, grid: Grid, flavour: str) -> None:
    if flavour.startswith("timm"):
        return
    reasons = []
    if variant.activation != "hard_silu":
        reasons.append(f"its activation is {variant.activation}, there it is always hard_silu")
    if variant.stem_convs != 4:
        reasons.append(f"its stem has {variant.stem_convs} convolutions, there it has four")
    if grid[0] != grid[1]:
        reasons.append(f"its grid is {grid_text(grid)}, there it is always square")
    if reasons:
        raise ValueError(
            f"{variant.name} cannot be written as {flavour}: {'; '.join(reasons)}. "
            "timm and timm_conv can hold it."
        )


def _index_problems(
    state: Mapping[str, np.ndarray], table: tuple[Entry, ...], flavour: str, grids: list[Grid]
) -> list[str]:
    """Returns problems of index buffers that differ from `attention_bias_index`."""
    problems = []
    for entry in table:
        key = entry.key(flavour).rpartition(".")[0] + f".{_INDEX}"
        if entry.stage is None or key not in state:
            continue
        grid = grids[entry.stage]
        if not np.array_equal(state[key], attention_bias_index(grid, entry.stride)):
            problems.append(
                f"{key}: numbers the offsets differently from |dy| * width + |dx| on a grid of "
                f"{grid_text(grid)}; the checkpoint was trained on another (--checkpoint_size)"
            )
    return problems


def _pytorch_shape(shape: tuple[int, ...], layout: Layout, flavour: str) -> tuple[int, ...]:
    """Returns the checkpoint's shape for a Keras shape; an unexpected rank is returned as is."""
    expected_rank = {Layout.CONV: 4, Layout.POINTWISE: 2, Layout.DENSE: 2}.get(layout)
    if len(shape) != expected_rank:
        return shape
    return to_pytorch(np.broadcast_to(np.float32(0), shape), layout, flavour).shape
