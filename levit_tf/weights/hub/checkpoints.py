"""Opens the LeViT of a hub repository: its weights, and their properties in the repository."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from levit_common.hub_addresses import HubAddress, parse_address
from levit_lite.class_names import check_class_names, imagenet_class_names
from levit_tf.preprocessing import INPUT_RANGES, InputRange
from levit_tf.weights.checkpoint_files import Checkpoint, read_checkpoint
from levit_tf.weights.hub.configs import MAX_CONFIG_BYTES, HubConfig, read_config
from levit_tf.weights.hub.files import cached, commit_of, fetch
from levit_tf.weights.pytorch_recognition import CheckpointInfo, recognise

# Names of weight files; the first existing one is used. Only tensors are read from pickles.
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin", "model.pth", "pytorch_model.pth")


@dataclasses.dataclass(frozen=True)
class HubCheckpoint:
    """A LeViT on the hub.

    Attributes:
      address: its address, including the commit.
      state: its weights.
      info: properties of the weights.
      class_names: class names in the repository; ImageNet's for 1000 classes without names; None if
        there are none.
      input_size: (height, width) of the training images, pixels; None if it is not known.
      input_range: range of its input values.
    """

    address: HubAddress
    state: Checkpoint
    info: CheckpointInfo
    class_names: tuple[str, ...] | None
    input_size: tuple[int, int] | None
    input_range: InputRange

    @property
    def origin(self) -> str:
        """Origin of the weights, in the form that a model notes."""
        return f"{self.info.variant.name}, {self.info.flavour} checkpoint {self.address}"


def open_hub_checkpoint(
    address: str | os.PathLike, key: str | None = None, variant: str | None = None
) -> HubCheckpoint:
    """Opens a LeViT from huggingface_hub's cache, or downloads it.

    Args:
      address: see `levit_common.hub_addresses`.
      key: key of the state dict in a file that holds several, see `read_checkpoint`.
      variant: name of the variant, if it is known.

    Raises:
      ImportError: huggingface_hub is not installed.
      PermissionError: there is no such repository, or this user has no access to it.
      ConnectionError: it is neither in the cache nor reachable.
      ValueError: it contains no LeViT, is damaged, or is inconsistent.
    """
    wanted = parse_address(os.fspath(address))
    config_file = fetch(wanted, "config.json")
    # All files are from one commit, even if somebody pushes another one in the meantime.
    pinned = wanted if config_file is None else _pinned(wanted, config_file)
    weights = _weights(pinned)
    pinned = _pinned(pinned, weights)  # in a repository without config.json
    config = _config(pinned, config_file)
    state = read_checkpoint(weights, key)
    info = recognise(state, variant=variant, source=str(pinned))
    if config.classes not in (None, info.classes) and info.classes is not None:
        raise ValueError(
            f"{pinned}: config.json says {config.classes} classes, and the weights have "
            f"{info.classes}."
        )
    names = config.class_names
    if names is not None and info.classes is not None:
        check_class_names(names, info.classes, f"{pinned}: config.json")
    if names is None and info.classes == len(imagenet_class_names()):
        names = tuple(imagenet_class_names())  # all codebases have the same order
    return HubCheckpoint(
        pinned,
        state,
        info,
        names,
        config.input_size or (None if info.square_size is None else (info.square_size,) * 2),
        config.input_range or INPUT_RANGES["normalized"],
    )


def _pinned(address: HubAddress, file: str) -> HubAddress:
    """Returns an address with the commit of a file that was fetched from it, if that is known."""
    return dataclasses.replace(address, revision=commit_of(file) or address.revision)


def _weights(address: HubAddress) -> str:
    names = WEIGHT_FILES if address.file is None else (address.file,)
    try:
        path = _first(fetch, address, names)
    except ConnectionError:
        # `hf download` asks only for what exists, so the cache may not know that a name does not.
        path = _first(cached, address, names)
        if path is None:
            raise
    if path is not None:
        return path
    raise ValueError(
        f"{address}: the repository has no checkpoint. Looked for: {', '.join(names)}; another one "
        "is named by hf://OWNER/NAME/FILE."
    )


def _first(
    find: Callable[[HubAddress, str], str | None], address: HubAddress, names: Sequence[str]
) -> str | None:
    return next(filter(None, (find(address, name) for name in names)), None)


def _config(address: HubAddress, file: str | None) -> HubConfig:
    if file is None:
        return HubConfig()

    def preprocessor() -> str | None:
        found = fetch(address, "preprocessor_config.json")
        return found and _text(found, address)

    return read_config(_text(file, address), preprocessor, str(address))


def _text(file: str, address: HubAddress) -> str:
    if os.path.getsize(file) > MAX_CONFIG_BYTES:
        raise ValueError(f"{address}: {Path(file).name} is larger than {MAX_CONFIG_BYTES:,} bytes.")
    try:
        return Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{address}: {Path(file).name} is no UTF-8 text.") from error
