"""Implements `weights=` of a LeViT: "imagenet", a repository on the hub, or a Keras file."""

from __future__ import annotations

import os
from collections.abc import Callable

import keras
import numpy as np

from levit_lite.class_names import imagenet_class_names
from levit_tf.attention_bias import Grid
from levit_tf.keras_graph.introspection import classifier_of, grids_of, variant_of
from levit_tf.keras_graph.properties import copy_notes, write_notes
from levit_tf.variants import Variant
from levit_tf.weights.assignment import SourceArrays, TransferReport, assign, source_grids
from levit_tf.weights.hub.checkpoints import HubCheckpoint
from levit_tf.weights.keras_files import load_keras_file, model_path
from levit_tf.weights.packaged import find_packaged, read_packaged
from levit_tf.weights.pytorch_names import name_table
from levit_tf.weights.pytorch_weights import load_state_dict
from levit_tf.weights.weights_file import read_weights_file


def load_weights(
    model: keras.Model,
    weights: str | os.PathLike | HubCheckpoint,
    variant: Variant,
    blank: Callable[[Variant], keras.Model],
) -> TransferReport:
    """Loads weights into a LeViT by name: all or nothing.

    A model with one head receives the class head of a source with two heads; a model without the
    top receives no head. Attention biases for another input size are resized.

    Args:
      model: a LeViT in train form.
      weights: "imagenet", a name of `packaged.PACKAGED`, a `.keras` file of a LeViT in train form,
        a `.weights.h5` file, the folder of a run of `training.main`, or an opened checkpoint of the
        hub.
      variant: the model's variant.
      blank: function that builds a LeViT without weights, used to convert released weights once.

    Returns:
      A report of what was done with each variable.

    Raises:
      FileNotFoundError: no such file.
      ConnectionError: "imagenet" is neither cached nor reachable.
      ValueError: the source does not fit the model; all differences are listed, and the model is
        unchanged.
    """
    if isinstance(weights, HubCheckpoint):
        return _load_hub(model, weights, variant)
    if os.fspath(weights) == "imagenet":
        # Imported here, because only released weights need the code that downloads them.
        from levit_tf.weights.pretrained import released_weights

        _check_rgb(model, variant, "imagenet")
        report = _load_file(model, os.fspath(released_weights(variant, blank)), variant)
        origin = f"{variant.name}, released ImageNet weights"
        names = imagenet_class_names() if classifier_of(model) is not None else None
        write_notes(model, class_names=names, input_range="normalized", origin=origin)
        return report
    if packaged := find_packaged(weights, variant):
        _check_rgb(model, variant, os.fspath(weights))
        arrays, names, source = read_packaged(os.fspath(weights))
        grids = source_grids(model, variant, arrays, source)
        report = assign(model, variant, SourceArrays(source, arrays, grids))
        names = names if classifier_of(model) is not None else None
        write_notes(model, class_names=names, input_range="normalized", origin=packaged.origin)
        return report
    return _load_file(model, model_path(weights), variant)


def _load_file(model: keras.Model, path: str, variant: Variant) -> TransferReport:
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f'weights={path!r}: no such file. Expected "imagenet", "imagenette" for LeViTMini, a '
            ".keras file of a LeViT, a .weights.h5 file, or None."
        )
    saved = None
    if path.endswith(".keras"):
        saved = load_train_form(path)
        arrays, grids = _read_keras(saved, path, variant)
    elif path.endswith(".weights.h5"):
        arrays = read_weights_file(path, _variable_order(variant))
        grids = source_grids(model, variant, arrays, path)
    else:
        raise ValueError(
            f"weights={path!r}: expected a .keras or a .weights.h5 file. A PyTorch checkpoint is "
            "converted first: python -m converters.from_pytorch --checkpoint=FILE --output=FILE"
        )
    known = {entry.path for entry in name_table(variant)}
    unexpected = [f"{name}, shape {arrays[name].shape}" for name in arrays if name not in known]
    report = assign(model, variant, SourceArrays(path, arrays, grids, unexpected))
    if saved is not None:
        copy_notes(saved, model, with_class_names=classifier_of(model) is not None)
    return report


def _load_hub(model: keras.Model, found: HubCheckpoint, variant: Variant) -> TransferReport:
    if found.info.variant.name != variant.name:
        raise ValueError(
            f"weights={str(found.address)!r} are those of {found.info.variant.name}. Received: "
            f"{variant.name}"
        )
    classifier = classifier_of(model)
    if classifier is not None and classifier.heads != "single" and not found.info.has_head_dist:
        raise ValueError(
            f"weights={str(found.address)!r} have one head. Received: heads={classifier.heads!r}; "
            'give heads="single".'
        )
    report = load_state_dict(
        model,
        found.state,
        info=found.info,
        checkpoint_size=found.input_size,
        source=str(found.address),
    )
    names = found.class_names if classifier is not None else None
    write_notes(model, class_names=names, input_range=found.input_range, origin=found.origin)
    return report


def _check_rgb(model: keras.Model, variant: Variant, weights: str) -> None:
    channels = model.get_layer("stem_conv1").linear.kernel.shape[2]
    if channels != 3:
        raise ValueError(
            f"weights={weights!r} are for RGB images, 3 channels. {variant.name} was given an "
            f"input of {channels}. Use weights=None, or levit_tf.transfer_weights."
        )


def load_train_form(path: str | os.PathLike) -> keras.Model:
    """Loads a `.keras` file that must hold a LeViT in train form.

    Raises:
      FileNotFoundError: no such file.
      ValueError: truncated, not a Keras model, or not a LeViT in train form.
    """
    model = load_keras_file(path)
    try:
        variant_of(model)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return model


def _read_keras(
    saved: keras.Model, path: str, variant: Variant
) -> tuple[dict[str, np.ndarray], list[Grid]]:
    """Returns the arrays of a saved LeViT by path, and the grids of its bias tables."""
    found = variant_of(saved)
    if found.activation != variant.activation:
        raise ValueError(
            f"{path}: a {found.name} with activation {found.activation}; {variant.name} has "
            f"{variant.activation}."
        )
    arrays = {weight.path: keras.ops.convert_to_numpy(weight) for weight in saved.weights}
    return arrays, grids_of(saved)


def _variable_order(variant: Variant) -> dict[str, list[str]]:
    """Returns, for each layer path, the paths of its variables in the order of `layer.weights`."""
    order = {}
    for entry in name_table(variant):
        order.setdefault(entry.path.rpartition("/")[0], []).append(entry.path)
    return order
