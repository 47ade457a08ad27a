"""The table of names: every variable of a LeViT and its key in the three PyTorch codebases.

Both reading and writing of checkpoints use this table, so they always agree. It also contains the
shape of each variable, by which the variant of a checkpoint is recognised. Pure Python and numpy:
no backend, no torch.

The flavours:

- `official`: levit.py of facebookresearch/LeViT;
- `timm` and `timm_conv`: timm's `levit_*`, and `levit_conv_*`, which has the same names and stores
  the projections of the backbone as 1x1 convolutions;
- `hf`: `LevitForImageClassificationWithTeacher` of Hugging Face transformers, and without the
  distillation head `LevitForImageClassification`.
"""

from __future__ import annotations

import dataclasses
import enum
import functools

import numpy as np

from levit_tf.variants import STAGE_STRIDE, Variant

HEAD_PREFIXES = ("classifier/head/", "classifier/head_dist/")


class Layout(enum.Enum):
    """How a kind of variable is stored; `out` and `in` are numbers of channels."""

    CONV = "convolution kernel: Keras (height, width, in, out), PyTorch (out, in, height, width)"
    POINTWISE = "projection: Keras (in, out), PyTorch (out, in), or (out, in, 1, 1) in timm_conv"
    DENSE = "classifier: Keras (in, out), PyTorch (out, in)"
    VECTOR = "the same on both sides"
    BIAS_TABLE = "attention biases: (heads, grid height * grid width) on both sides"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One variable.

    Attributes:
      path: `path` of the Keras variable.
      official: key in the official code.
      timm: key in timm, in both of its flavours.
      hf: key in Hugging Face transformers.
      layout: how it is stored.
      shape: Keras shape, with None for sizes that the variant does not fix: input channels,
        classes, grid.
      stage: for a bias table, the stage whose grid the keys lie on; None otherwise.
      stride: for a bias table, the stride of the queries.
    """

    path: str
    official: str
    timm: str
    hf: str
    layout: Layout
    shape: tuple[int | None, ...]
    stage: int | None = None
    stride: int = 1

    def key(self, flavour: str) -> str:
        """Returns the key in a state dict of `flavour`."""
        return getattr(self, "timm" if flavour == "timm_conv" else flavour)

    @property
    def in_heads(self) -> bool:
        """Whether the variable belongs to a classification head."""
        return self.path.startswith(HEAD_PREFIXES)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Returns whether a Keras shape agrees with this entry in all sizes that are fixed."""
        return len(shape) == len(self.shape) and all(
            wanted in (None, found) for wanted, found in zip(self.shape, shape, strict=True)
        )


@dataclasses.dataclass(frozen=True)
class _Module:
    """The names of a layer in Keras and in each of the three codebases."""

    path: str
    official: str
    timm: str
    hf: str

    def child(self, name: str, official: str, timm: str, hf: str) -> _Module:
        """Returns the names of a layer inside this one."""
        return _Module(
            f"{self.path}/{name}",
            f"{self.official}.{official}",
            f"{self.timm}.{timm}",
            f"{self.hf}.{hf}",
        )


def _batch_norm(module: _Module, channels: int) -> list[Entry]:
    leaves = (
        ("gamma", "weight"),
        ("beta", "bias"),
        ("moving_mean", "running_mean"),
        ("moving_variance", "running_var"),
    )
    return [
        Entry(
            f"{module.path}/bn/{keras_leaf}",
            f"{module.official}.bn.{leaf}",
            f"{module.timm}.bn.{leaf}",
            f"{module.hf}.batch_norm.{leaf}",
            Layout.VECTOR,
            (channels,),
        )
        for keras_leaf, leaf in leaves
    ]


def _conv_bn(module: _Module, channels: int | None, filters: int) -> list[Entry]:
    kernel = Entry(
        f"{module.path}/linear/kernel",
        f"{module.official}.c.weight",
        f"{module.timm}.linear.weight",
        f"{module.hf}.convolution.weight",
        Layout.CONV,
        (3, 3, channels, filters),
    )
    return [kernel, *_batch_norm(module, filters)]


def _dense_bn(module: _Module, channels: int, units: int) -> list[Entry]:
    kernel = Entry(
        f"{module.path}/linear/kernel",
        f"{module.official}.c.weight",
        f"{module.timm}.linear.weight",
        f"{module.hf}.linear.weight",
        Layout.POINTWISE,
        (channels, units),
    )
    return [kernel, *_batch_norm(module, units)]


def _head(module: _Module, channels: int) -> list[Entry]:
    def linear(keras_leaf, leaf, layout, shape):
        return Entry(
            f"{module.path}/linear/{keras_leaf}",
            f"{module.official}.l.{leaf}",
            f"{module.timm}.linear.{leaf}",
            f"{module.hf}.linear.{leaf}",
            layout,
            shape,
        )

    return [
        *_batch_norm(module, channels),
        linear("kernel", "weight", Layout.DENSE, (channels, None)),
        linear("bias", "bias", Layout.VECTOR, (None,)),
    ]


def _bias_table(module: _Module, heads: int, stage: int, stride: int) -> Entry:
    return Entry(
        f"{module.path}/attention_biases",
        *(f"{name}.attention_biases" for name in (module.official, module.timm, module.hf)),
        Layout.BIAS_TABLE,
        (heads, None),
        stage,
        stride,
    )


def _attention(variant: Variant, module: _Module, stage: int) -> list[Entry]:
    heads, key_dim = variant.num_heads[stage], variant.key_dim
    channels, value_dim = variant.embed_dim[stage], variant.attn_ratio * key_dim
    qkv = module.child("qkv", "qkv", "qkv", "queries_keys_values")
    proj = module.child("proj", "proj.1", "proj.ln", "projection")
    return [
        _bias_table(module, heads, stage, 1),
        *_dense_bn(qkv, channels, heads * (2 * key_dim + value_dim)),
        *_dense_bn(proj, heads * value_dim, channels),
    ]


def _subsample_attention(variant: Variant, module: _Module, stage: int) -> list[Entry]:
    heads, key_dim = variant.downsample_num_heads(stage), variant.key_dim
    channels, value_dim = variant.embed_dim[stage - 1], variant.downsample_attn_ratio * key_dim
    kv = module.child("kv", "kv", "kv", "keys_values")
    q = module.child("q", "q.1", "q.ln", "queries")
    proj = module.child("proj", "proj.1", "proj.ln", "projection")
    return [
        _bias_table(module, heads, stage - 1, STAGE_STRIDE),
        *_dense_bn(kv, channels, heads * (key_dim + value_dim)),
        *_dense_bn(q, channels, heads * key_dim),
        *_dense_bn(proj, heads * value_dim, variant.embed_dim[stage]),
    ]


def _mlp(variant: Variant, module: _Module, channels: int) -> list[Entry]:
    hidden = variant.mlp_ratio * channels
    up = module.child("ln1", "0", "ln1", "linear_up")
    down = module.child("ln2", "2", "ln2", "linear_down")
    return [*_dense_bn(up, channels, hidden), *_dense_bn(down, hidden, channels)]


@functools.lru_cache
def name_table(variant: Variant) -> tuple[Entry, ...]:
    """Returns all variables of a variant with both heads, in the order of the network's layers.

    Within a layer the order is that of `layer.weights`.
    """
    entries = []
    channels = None
    for n, filters in enumerate(variant.stem_filters, start=1):
        module = _Module(
            f"stem_conv{n}",
            f"patch_embed.{2 * (n - 1)}",  # odd numbers are the activations in between
            f"stem.conv{n}",
            f"levit.patch_embeddings.embedding_layer_{n}",
        )
        entries += _conv_bn(module, channels, filters)
        channels = filters

    block = 0  # the official code numbers the layers of all stages consecutively
    for stage, channels in enumerate(variant.embed_dim):
        keras_prefix, timm_prefix = f"stages_{stage}", f"stages.{stage}"
        if stage > 0:
            # In Hugging Face, the subsampling is the last two layers of the stage before.
            hf = f"levit.encoder.stages.{stage - 1}.layers"
            layer = 2 * variant.depth[stage - 1]
            attention = _Module(
                f"{keras_prefix}_downsample_attn",
                f"blocks.{block}",
                f"{timm_prefix}.downsample.attn_downsample",
                f"{hf}.{layer}",
            )
            mlp = _Module(
                f"{keras_prefix}_downsample_mlp",
                f"blocks.{block + 1}.m",
                f"{timm_prefix}.downsample.mlp",
                f"{hf}.{layer + 1}.module",
            )
            entries += _subsample_attention(variant, attention, stage)
            entries += _mlp(variant, mlp, channels)
            block += 2
        for n in range(variant.depth[stage]):
            attention, mlp = (
                _Module(
                    f"{keras_prefix}_blocks_{n}_{name}",
                    f"blocks.{block + offset}.m",
                    f"{timm_prefix}.blocks.{n}.{name}",
                    f"levit.encoder.stages.{stage}.layers.{2 * n + offset}.module",
                )
                for offset, name in enumerate(("attn", "mlp"))
            )
            entries += _attention(variant, attention, stage)
            entries += _mlp(variant, mlp, channels)
            block += 2

    for name, hf in (("head", "classifier"), ("head_dist", "classifier_distill")):
        module = _Module(f"classifier/{name}", name, name, hf)
        entries += _head(module, variant.embed_dim[-1])
    return tuple(entries)


def to_keras(array: np.ndarray, layout: Layout) -> np.ndarray:
    """Converts a PyTorch array to Keras' layout; an array of unexpected rank is returned as is."""
    if layout in (Layout.POINTWISE, Layout.DENSE):
        if array.ndim == 4 and array.shape[2:] == (1, 1):
            array = array[:, :, 0, 0]  # (out, in, 1, 1) -> (out, in)
        return array.T if array.ndim == 2 else array  # (out, in) -> (in, out)
    if layout is Layout.CONV and array.ndim == 4:
        return array.transpose(2, 3, 1, 0)  # (out, in, h, w) -> (h, w, in, out)
    return array


def to_pytorch(array: np.ndarray, layout: Layout, flavour: str) -> np.ndarray:
    """Converts a Keras array to the PyTorch layout of `flavour`; the result is contiguous."""
    if layout is Layout.CONV:
        array = array.transpose(3, 2, 0, 1)  # (h, w, in, out) -> (out, in, h, w)
    elif layout in (Layout.POINTWISE, Layout.DENSE):
        array = array.T  # (in, out) -> (out, in)
        if layout is Layout.POINTWISE and flavour == "timm_conv":
            array = array[:, :, None, None]  # (out, in) -> (out, in, 1, 1)
    return np.ascontiguousarray(array)
