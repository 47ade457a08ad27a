"""Recognises a PyTorch state dict: which codebase wrote it, and which LeViT it holds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from levit_tf.variants import Variant, get_variant, list_variants
from levit_tf.weights.checkpoint_wrappers import prefixes_before
from levit_tf.weights.pytorch_names import Entry, name_table, to_keras

# The first convolution, by which each codebase is known.
_SIGNATURES = {
    "official": "patch_embed.0.c.weight",
    "timm": "stem.conv1.linear.weight",
    "hf": "levit.patch_embeddings.embedding_layer_1.convolution.weight",
}
_HF_PREFIX = "levit."
_SHOWN = 5
_BUFFERS = ("num_batches_tracked", "attention_bias_idxs")


@dataclasses.dataclass(frozen=True)
class CheckpointInfo:
    """What a state dict is.

    Attributes:
      flavour: "official", "timm", "timm_conv" or "hf".
      variant: the variant. Its activation comes from the table: weights do not show it.
      channels: of the input image.
      classes: of the class head; None without one.
      has_head_dist: whether there is a distillation head.
      square_size: side of the square images that the attention biases would fit, pixels; None
        where they fit no square.
      prefix: before every key, such as "module." of `DataParallel`.
      left_out: keys without the prefix.
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
            text += f", left out {len(self.left_out)} keys without it: {_listed(self.left_out)}"
        return text


def recognise(
    state: Mapping[str, np.ndarray],
    variant: Variant | str | None = None,
    source: str = "the state dict",
) -> CheckpointInfo:
    """Tells flavour, variant, classes, channels and heads of a state dict.

    Args:
      state: arrays by key.
      variant: the variant if it is known; then nothing is compared with it here. By default the
        one of the table with exactly these keys and shapes.
      source: what the state dict came from, for errors.

    Raises:
      ValueError: neither of the codebases, or none of the known variants. The message lists what
        the nearest variant differs in.
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
    """Keys as `pytorch_names` has them: a bare Hugging Face `LevitModel` lacks "levit.".

    Args:
      state: arrays by key.
      flavour: see `CheckpointInfo`.
      prefix: to be removed; what does not begin with it is left out.
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


def _flavour(state: Mapping[str, np.ndarray], source: str) -> tuple[str, str]:
    """The flavour, and the prefix before its keys."""
    for flavour, signature in _SIGNATURES.items():
        # The bare form of Hugging Face's is the second, as the first one ends in it.
        for key in dict.fromkeys((signature, signature.removeprefix(_HF_PREFIX))):
            prefixes = prefixes_before(key, state)
            if not prefixes:
                continue
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
        "it before it is fused). Each is known by its first convolution, whatever prefix is before "
        f"it:\n{known}\nFound {len(state)} keys, the first being: {_listed(list(state))}\n"
        "Of a file with several networks --checkpoint_key=NAME takes another one."
    )


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(keys[:_SHOWN]) + more


def _variant(state: Mapping[str, np.ndarray], flavour: str, source: str) -> Variant:
    misfits = {name: _misfits(state, flavour, get_variant(name)) for name in list_variants()}
    nearest = min(misfits, key=lambda name: len(misfits[name]))
    if misfits[nearest]:
        listed = "\n  ".join(misfits[nearest])
        raise ValueError(
            f"{source}: {flavour} naming, but none of the known variants. The nearest, {nearest}, "
            f"differs in {len(misfits[nearest])}:\n  {listed}\nWhat no LeViT has, such as layers "
            "of your own, has to be removed from the file; of several networks in it "
            "--checkpoint_key=PREFIX takes one."
        )
    return get_variant(nearest)


def _misfits(state: Mapping[str, np.ndarray], flavour: str, variant: Variant) -> list[str]:
    """Keys that are missing, unexpected, or of a shape that the variant rules out."""
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
