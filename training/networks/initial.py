"""The initial weights of a run: shipped ones, a file, a run's final network, or one on the hub."""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import keras
from keras.layers import Identity

import levit_tf
from levit_common.hub_addresses import is_hub_address
from levit_common.model_sources import is_plain_name
from levit_lite.class_names import LABELS_FILE, composed, imagenet_class_names, read_labels
from levit_lite.opening.archives import DAMAGE
from levit_tf.applications import from_hub
from levit_tf.keras_graph.notes import CLASSES, note_kind, read_note
from levit_tf.layers import Classifier
from levit_tf.opening.keras_files import CONFIG, check_keras_file
from levit_tf.preprocessing import INPUT_RANGES, InputRange
from levit_tf.variants import get_variant
from levit_tf.weights.hub.checkpoints import HubCheckpoint, open_hub_checkpoint
from levit_tf.weights.keras_files import load_keras_file, model_path
from levit_tf.weights.loading import load_train_form
from levit_tf.weights.packaged import default_weights, read_packaged, variant_with_weights
from training.config_checks import INIT_FROM, PACKAGED, RELEASED
from training.data import Dataset


class Beginning(Protocol):
    """The fields used here, which configurations of classifiers and of keypoints both have."""

    variant: str
    init_from: str | None


@dataclasses.dataclass(frozen=True)
class Source:
    """The initial weights that a run's configuration names, looked up once for the whole run.

    Attributes:
      path: None for random weights, RELEASED, PACKAGED, a file, or an address on the hub with its
        commit.
      variant: name of the network.
      on_hub: what was found at that address; None for anything else.
    """

    path: str | None
    variant: str
    on_hub: HubCheckpoint | None = None


def find_source(config: Beginning, address: str | None = None) -> Source:
    """Looks up `config.init_from`, and checks it as far as possible before any picture is read.

    Args:
      config: the configuration.
      address: an address on the hub to open in place of `config.init_from`: the same one, with the
        commit that an earlier part of the run opened.

    Returns:
      The source; for a run's folder, that of the run's final network.

    Raises:
      FileNotFoundError: there is no such file.
      ImportError, PermissionError, ConnectionError: see `open_hub_checkpoint`.
      ValueError: a name without weights, or of another variant; or the repository has no LeViT of
        this variant, or one with another input range.
    """
    source = config.init_from
    if source is None or source == RELEASED:
        return Source(source, config.variant)
    if is_plain_name(source):
        return Source(_named_weights(source, config.variant), config.variant)
    if is_hub_address(source):
        found = _open_on_hub(address or source, config.variant)
        return Source(str(found.address), config.variant, found)
    path = model_path(source)
    if not Path(path).exists():
        raise FileNotFoundError(f"init_from={path}: no such file. Expected {INIT_FROM}.")
    # A file or folder of this name is not what the name alone stands for.
    return Source(os.path.join(".", path) if path == PACKAGED else path, config.variant)


def _named_weights(name: str, variant: str) -> str:
    """Returns RELEASED or PACKAGED for the name of a variant, in any of its spellings."""
    named = variant_with_weights(name, f"{INIT_FROM}, or the name of a variant", "init_from=")
    if named.name != get_variant(variant).name:
        raise ValueError(f"init_from={name}: set variant={named.name}, too.")
    return RELEASED if default_weights(named) == RELEASED else PACKAGED


def trained_network(source: Source, takes_deploy_form: bool = False) -> keras.Model:
    """Loads the network that a configuration's `init_from` names.

    Args:
      source: neither of random weights nor a file with weights only.
      takes_deploy_form: whether any network in a `.keras` file is accepted; the caller then calls
        `check_input_range`.

    Returns:
      A LeViT in train form, unless `takes_deploy_form`.

    Raises:
      ConnectionError: the released weights are neither cached nor reachable.
      ValueError: it is not such a network, or has another input range than a run's pictures.
    """
    if source.path in (RELEASED, PACKAGED):
        try:
            return levit_tf.LeViT(source.variant, weights=_weights(source.path))
        except ConnectionError as error:
            raise ConnectionError(f"{error} Or begin with others: {INIT_FROM}.") from error
    if source.on_hub:
        return from_hub(source.on_hub)
    if takes_deploy_form:
        return load_keras_file(source.path)
    model = load_train_form(source.path)
    check_input_range(model, f"init_from={source.path}")
    return model


def check_input_range(model: keras.Model, name: str) -> None:
    """Raises ValueError for a network whose input is not normalised as a run's pictures are.

    Args:
      model: a network with one image input.
      name: its source, for the error message.
    """
    found = levit_tf.model_properties(model)
    _check_normalized(found.input_range, found.channels, name)


def check_fits(
    model: keras.Model,
    name: str,
    data: Dataset,
    *,
    size: tuple[int, int],
    classes: int,
    advice: str,
) -> None:
    """Raises ValueError for a network whose head would be shipped for pictures of another kind.

    Args:
      model: a trained network; classes without names may be those of the pictures.
      name: its source, for the error message.
      data: the pictures.
      size: (height, width) that the network takes, pixels.
      classes: number of classes that it knows.
      advice: what to do if the pictures have another number of classes.
    """
    if tuple(size) != tuple(data.input_size):
        raise ValueError(
            f"{name}: takes {size[0]}x{size[1]} pixels; the data are "
            f"{data.input_size[0]}x{data.input_size[1]}. Set input_size={size[0]}x{size[1]}."
        )
    if classes != len(data.class_names):
        raise ValueError(
            f"{name}: knows {classes} classes; the data have {len(data.class_names)}. {advice}"
        )
    known = levit_tf.model_properties(model).class_names
    if known and list(known) not in (list(data.class_names), list(data.class_ids)):
        other = next((a, b) for a, b in zip(known, data.class_names, strict=True) if a != b)
        raise ValueError(
            f"{name}: its classes are others than those of the pictures, or in another order: "
            f"{other[0]!r} there, {other[1]!r} here."
        )


def _check_normalized(found: InputRange | None, channels: int, name: str) -> None:
    normalized = INPUT_RANGES["normalized"].of_channels(channels) if channels in (1, 3) else None
    if found is not None and found != normalized:
        raise ValueError(
            f"{name}: the input range of this network is {found}; training normalises pictures "
            "by levit_tf.preprocess_input. To let the network adapt to that, change its note, "
            'levit_tf.with_properties(model, input_range="normalized").save(FILE.keras), and begin '
            "with that file."
        )


def _open_on_hub(address: str, variant: str) -> HubCheckpoint:
    found = open_hub_checkpoint(address)
    there = found.info.variant.name
    if there != get_variant(variant).name:
        raise ValueError(f"init_from={found.address}: a {there}; set variant={there}.")
    _check_normalized(found.input_range, found.info.channels, f"init_from={found.address}")
    return found


def is_of_other_classes(source: Source, names: Sequence[str]) -> bool:
    """Whether the head of the initial network is known to be of other classes than these.

    Of a file, only the model's description is read, not its weights. Classes without names count as
    the same if their number is the same.
    """
    if found := source.on_hub:
        return found.info.classes != len(names) or not _are_same(found.class_names, names)
    path = source.path
    return _saved_classes(path, len(names)) != len(names) or not _knows(path, names)


def _knows(source: str, names: Sequence[str]) -> bool:
    """Whether the classes of a file, or the released ones, are these in this order, or unknown.

    They are read from a `labels.txt` beside the file, or else from the model itself.
    """
    if source in (RELEASED, PACKAGED):
        return list(names) == _shipped_names(source)
    path = Path(source).with_name(LABELS_FILE)
    if path.exists():
        return read_labels(path) == list(names)
    identities = (Identity(name=found["name"]) for found in _layers_in(source, Identity))
    notes = (read_note(layer) for layer in identities if note_kind(layer) == CLASSES)
    return _are_same(next(notes, None), names)


def _weights(source: str) -> str:
    return RELEASED if source == RELEASED else default_weights(get_variant(source))


def _shipped_names(source: str) -> list[str]:
    return imagenet_class_names() if source == RELEASED else read_packaged(_weights(source))[1]


def _are_same(known: Sequence[str] | None, names: Sequence[str]) -> bool:
    return not known or list(map(composed, known)) == list(names)


def _saved_classes(source: str, classes: int) -> int | None:
    """Returns the number of classes of the head of a source; None if unknown."""
    if source in (RELEASED, PACKAGED):
        return len(_shipped_names(source))
    if not source.endswith(".keras"):
        return classes  # weights files do not load into a network with other classes
    return next((found["classes"] for found in _layers_in(source, Classifier)), None)


def _layers_in(source: str, kind: type) -> Iterator[dict[str, Any]]:
    """Yields the configurations of all layers of a class in a `.keras` file, without loading it."""

    def visit(node):
        if isinstance(node, dict) and node.get("class_name") == kind.__name__:
            yield node["config"]
        elif isinstance(node, dict | list):
            for child in node.values() if isinstance(node, dict) else node:
                yield from visit(child)

    try:
        check_keras_file(source)
        with zipfile.ZipFile(source) as archive:
            description = json.loads(archive.read(CONFIG))
    except DAMAGE:
        return  # not a `.keras` file; loading it reports what is wrong with it
    yield from visit(description)
