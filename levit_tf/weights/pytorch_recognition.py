"""Recognises a PyTorch state dict: which codebase wrote it, and which LeViT it holds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping

import numpy as np

from levit_common.spelling import shortened
from levit_tf.variants import Variant, get_variant, list_variants
from levit_tf.weights.checkpoint_wrappers import prefixes_before
from levit_tf.weights.pytorch_names import Entry, name_table, to_keras

# Key of the first convolution, by which each codebase is recognised.
_SIGNATURES = {
    "official": "patch_embed.0.c.weight",
    "timm": "stem.conv1.linear.weight",
    "hf": "levit.patch_embeddings.embedding_layer_1.convolution.weight",
}
_HF_PREFIX = "levit."
_BUFFERS = ("num_batches_tracked", "attention_bias_idxs")


@dataclasses.dataclass(frozen=True)
class CheckpointInfo:
    """Properties of a recognised state dict.

    Attributes:
      flavour: "official", "timm", "timm_conv" or "hf".
      variant: the variant. Its activation is taken from the table, since weights do not show it.
      channels: number of input channels.
      classes: number of classes of the class head; None without a head.
      has_head_dist: whether there is a distillation head.
      square_size: side in pixels of the square images that the attention biases fit; None if they
        fit no square.
      prefix: prefix of every key, such as "module." of `DataParallel`.
      left_out: keys that do not have the prefix and are not used.
    """

    flavour: str
    variant: Variant
    channels: int
    classes: int | None
    has_head_dist: bool
    square_size: int | None
    prefix: str = ""
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        heads = "no head"
        if self.classes is not None:
            heads = f"{self.classes} classes, {'two heads' if self.has_head_dist else 'one head'}"
        text = (
            f"{self.flavour} naming, {self.variant.name} (activation {self.variant.activation}, "
            f"which weights do not show), {self.channels} input channels, {heads}"
        )
        if self.prefix:
            text += f"; removed the prefix {self.prefix!r}"
        if self.left_out:
            text += f", left out {len(self.left_out)} keys without it: {shortened(self.left_out)}"
        return text


def recognise(
    state: Mapping[str, np.ndarray],
    variant: Variant | str | None = None,
    source: str = "the state dict",
) -> CheckpointInfo:
    """Recognises flavour, variant, classes, channels and heads of a state dict.

    Args:
      state: arrays by key.
      variant: the variant if it is known; then it is not checked here. By default the variant of
        the table with exactly these keys and shapes.
      source: origin of the state dict, for error messages.

    Raises:
      ValueError: the state dict is from no known codebase, or of no known variant. The message
        lists the differences to the most similar variant.
    """
    whole = state
    flavour, prefix = _flavour(state, source)
    state = canonical(state, flavour, prefix)
    variant = _variant(state, flavour, source) if variant is None else get_variant(variant)
    entries = {entry.path: entry for entry in name_table(variant)}

    def shape(path):
        return np.shape(state.get(entries[path].key(flavour)))

    kernel = shape("stem_conv1/linear/kernel")
    head = shape("classifier/head/linear/kernel")
    table = shape("stages_0_blocks_0_attn/attention_biases")
    side = math.isqrt(table[1]) if len(table) == 2 else 0
    is_square = side > 0 and side**2 == table[1]
    return CheckpointInfo(
        flavour=flavour,
        variant=variant,
        channels=kernel[1] if len(kernel) == 4 else 3,
        classes=head[0] if head else None,
        has_head_dist=entries["classifier/head_dist/linear/kernel"].key(flavour) in state,
        square_size=side * variant.stem_stride if is_square else None,
        prefix=prefix,
        left_out=tuple(key for key in whole if not key.startswith(prefix)),
    )


def canonical(
    state: Mapping[str, np.ndarray], flavour: str, prefix: str = ""
) -> Mapping[str, np.ndarray]:
    """Returns the arrays under the keys of `pytorch_names`.

    Hugging Face's `LevitModel` without heads lacks the prefix "levit.", which is added.

    Args:
      state: arrays by key.
      flavour: see `CheckpointInfo`.
      prefix: prefix to remove; keys without it are left out.
    """
    if prefix:
        state = {
            key.removeprefix(prefix): array
            for key, array in state.items()
            if key.startswith(prefix)
        }
    if flavour == "hf" and _SIGNATURES["hf"] not in state:
        return {f"{_HF_PREFIX}{key}": array for key, array in state.items()}
    return state


def is_levit(state: Mapping[str, np.ndarray]) -> bool:
    """Returns whether a state dict has the first convolution of a LeViT of a known codebase."""
    return next(_flavours(state), None) is not None


def _flavours(state: Mapping[str, np.ndarray]) -> Iterator[tuple[str, list[str]]]:
    """Yields each flavour whose first convolution is there, with the prefixes of its keys."""
    for flavour, signature in _SIGNATURES.items():
        # The short form of Hugging Face's key comes second, because the full one ends in it.
        for key in dict.fromkeys((signature, signature.removeprefix(_HF_PREFIX))):
            if prefixes := prefixes_before(key, state):
                yield flavour, prefixes


def _flavour(state: Mapping[str, np.ndarray], source: str) -> tuple[str, str]:
    """Returns the flavour, and the prefix of its keys."""
    for flavour, prefixes in _flavours(state):
        if "" not in prefixes and len(prefixes) > 1:
            raise ValueError(
                f"{source}: holds {len(prefixes)} networks, with the prefixes "
                f"{', '.join(map(repr, prefixes))}. Choose with "
                f"--checkpoint_key={prefixes[0].removesuffix('.')}."
            )
        prefix = "" if "" in prefixes else prefixes[0]
        projection = state.get(f"{prefix}stages.0.blocks.0.attn.qkv.linear.weight")
        is_conv = flavour == "timm" and np.ndim(projection) == 4
        return "timm_conv" if is_conv else flavour, prefix
    known = "\n".join(f"  {flavour}: {key}" for flavour, key in _SIGNATURES.items())
    raise ValueError(
        f"{source}: not a LeViT of a known codebase, or one whose BatchNorm is fused already (save "
        "it before it is fused). Each is recognised by its first convolution, after any prefix:\n"
        f"{known}\nFound {len(state)} keys, the first being: {shortened(list(state))}\n"
        "Of a file with several networks --checkpoint_key=NAME takes another one."
    )


def _variant(state: Mapping[str, np.ndarray], flavour: str, source: str) -> Variant:
    misfits = {name: _misfits(state, flavour, get_variant(name)) for name in list_variants()}
    nearest = min(misfits, key=lambda name: len(misfits[name]))
    if misfits[nearest]:
        listed = "\n  ".join(misfits[nearest])
        raise ValueError(
            f"{source}: {flavour} naming, but none of the known variants. The nearest, {nearest}, "
            f"differs in {len(misfits[nearest])}:\n  {listed}\nRemove everything that is not part "
            "of a LeViT, such as your own layers, from the file; if it holds several networks, "
            "choose one with --checkpoint_key=PREFIX."
        )
    return get_variant(nearest)


def _misfits(state: Mapping[str, np.ndarray], flavour: str, variant: Variant) -> list[str]:
    """Returns the keys that are missing, unexpected, or have a shape that does not fit."""
    entries = {entry.key(flavour): entry for entry in name_table(variant)}
    missing = [
        f"missing {key}"
        for key, entry in entries.items()
        if key not in state and not entry.in_heads
    ]
    unexpected = [
        f"unexpected {key}"
        for key in state
        if key not in entries and key.rsplit(".", 1)[-1] not in _BUFFERS
    ]
    misshapen = [
        f"{key} of shape {state[key].shape}"
        for key, entry in entries.items()
        if key in state and not _fits(state[key], entry)
    ]
    return missing + unexpected + misshapen


def _fits(array: np.ndarray, entry: Entry) -> bool:
    return entry.fits(to_keras(array, entry.layout).shape)
