"""The table of LeViT variants, the only place of all architectural numbers.

Sources: Table 3 of the paper (arXiv 2104.01136) and `specification` in levit.py of
facebookresearch/LeViT for the five paper variants; `model_cfgs` in timm/models/levit.py for the
wider, deeper and stride-8 ones.
"""

from __future__ import annotations

import dataclasses
import math
import re

from levit_common.spelling import did_you_mean

ACTIVATIONS = ("hard_silu", "silu")
STAGES = 3
STAGE_STRIDE = 2


@dataclasses.dataclass(frozen=True)
class Published:
    """Figures of the paper (ImageNet-1k, 224x224, both heads averaged), not measured by us.

    Attributes:
      top1: ImageNet-1k validation top-1 accuracy, percent.
      flops: multiply-adds in millions, by the official counting rule.
      params: parameters in millions, as rounded in the paper.
    """

    top1: float
    flops: int
    params: float


@dataclasses.dataclass(frozen=True)
class Variant:
    """The architecture of one LeViT.

    Attributes:
      name: canonical name, also the default Keras model name.
      embed_dim: channels C of each stage.
      key_dim: channels D of the query and key of one attention head; the value has `attn_ratio`
        times as many, or `downsample_attn_ratio` times as many between stages.
      num_heads: attention heads N of each stage; the subsampling attention that leads into a stage
        has C/D heads, with C and D of the stage before it.
      depth: number X of [attention, MLP] pairs in each stage.
      stem_convs: number of 3x3 stride-2 convolutions in the stem; its stride is 2 ** stem_convs.
      activation: Keras name of the activation, one of `ACTIVATIONS` ("hard_silu" is hard-swish).
      drop_path_rate: stochastic depth rate of every residual branch, the same at all depths.
      input_size: default side of the square input, pixels.
      published: the paper's figures; None for variants that are not in the paper.
    """

    name: str
    embed_dim: tuple[int, int, int]
    key_dim: int
    num_heads: tuple[int, int, int]
    depth: tuple[int, int, int]
    stem_convs: int = 4
    activation: str = "hard_silu"
    drop_path_rate: float = 0.0
    input_size: int = 224
    attn_ratio: int = 2
    downsample_attn_ratio: int = 4
    mlp_ratio: int = 2
    published: Published | None = None

    def __post_init__(self) -> None:
        for field in ("embed_dim", "num_heads", "depth"):
            value = getattr(self, field)
            if len(value) != STAGES or any(not isinstance(n, int) or n < 1 for n in value):
                raise ValueError(
                    f"Variant {self.name!r}: {field} must be {STAGES} positive integers, one a "
                    f"stage. Received: {value!r}"
                )
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"Variant {self.name!r}: activation must be one of {ACTIVATIONS}. "
                f"Received: {self.activation!r}"
            )
        if not 0 <= self.drop_path_rate < 1:
            raise ValueError(
                f"Variant {self.name!r}: drop_path_rate must lie in [0, 1). "
                f"Received: {self.drop_path_rate!r}"
            )
        if self.stem_convs < 1 or self.embed_dim[0] % 2 ** (self.stem_convs - 1):
            raise ValueError(
                f"Variant {self.name!r}: embed_dim[0] is halved {self.stem_convs - 1} times in a "
                f"stem of {self.stem_convs} convolutions; {self.embed_dim[0]} does not divide."
            )

    @property
    def stem_stride(self) -> int:
        """Pixels per token, in each direction, after the stem."""
        return 2**self.stem_convs

    @property
    def stem_filters(self) -> tuple[int, ...]:
        """Output channels of the stem's convolutions: C/8, C/4, C/2, C if there are four."""
        last = self.embed_dim[0]
        return tuple(last // 2**n for n in reversed(range(self.stem_convs)))

    def downsample_num_heads(self, stage: int) -> int:
        """Returns the heads of the subsampling attention into `stage` (1 or 2): C/D before it."""
        return self.embed_dim[stage - 1] // self.key_dim

    def grids(self, input_size: tuple[int, int]) -> list[tuple[int, int]]:
        """Returns the token grid (height, width) of each stage for an input of this pixel size.

        Raises:
          ValueError: a side is not a positive multiple of the stem's stride. The reference computes
            the size of its attention biases as `side // stride`, which is wrong for other sides.
        """
        stride = self.stem_stride
        check_sides(f"{self.name}: the input's", input_size, stride)
        grids = [(input_size[0] // stride, input_size[1] // stride)]
        for _ in range(STAGES - 1):
            grids.append(tuple(math.ceil(side / STAGE_STRIDE) for side in grids[-1]))
        return grids


_VARIANTS = {
    variant.name: variant
    for variant in (
        Variant(
            "LeViT128S",
            embed_dim=(128, 256, 384),
            key_dim=16,
            num_heads=(4, 6, 8),
            depth=(2, 3, 4),
            published=Published(top1=76.6, flops=305, params=7.8),
        ),
        Variant(
            "LeViT128",
            embed_dim=(128, 256, 384),
            key_dim=16,
            num_heads=(4, 8, 12),
            depth=(4, 4, 4),
            published=Published(top1=78.6, flops=406, params=9.2),
        ),
        Variant(
            "LeViT192",
            embed_dim=(192, 288, 384),
            key_dim=32,
            num_heads=(3, 5, 6),
            depth=(4, 4, 4),
            published=Published(top1=80.0, flops=658, params=11),
        ),
        Variant(
            "LeViT256",
            embed_dim=(256, 384, 512),
            key_dim=32,
            num_heads=(4, 6, 8),
            depth=(4, 4, 4),
            published=Published(top1=81.6, flops=1120, params=19),
        ),
        Variant(
            "LeViT384",
            embed_dim=(384, 512, 768),
            key_dim=32,
            num_heads=(6, 9, 12),
            depth=(4, 4, 4),
            drop_path_rate=0.1,
            published=Published(top1=82.6, flops=2353, params=39),
        ),
        Variant(
            "LeViT384S8",
            embed_dim=(384, 512, 768),
            key_dim=32,
            num_heads=(6, 9, 12),
            depth=(4, 4, 4),
            stem_convs=3,
            activation="silu",
        ),
        Variant(
            "LeViT512S8",
            embed_dim=(512, 640, 896),
            key_dim=64,
            num_heads=(8, 10, 14),
            depth=(4, 4, 4),
            stem_convs=3,
            activation="silu",
        ),
        Variant(
            "LeViT512",
            embed_dim=(512, 768, 1024),
            key_dim=64,
            num_heads=(8, 12, 16),
            depth=(4, 4, 4),
            activation="silu",
        ),
        Variant(
            "LeViT256D",
            embed_dim=(256, 384, 512),
            key_dim=32,
            num_heads=(4, 6, 8),
            depth=(4, 8, 6),
            activation="silu",
        ),
        Variant(
            "LeViT512D",
            embed_dim=(512, 640, 768),
            key_dim=64,
            num_heads=(8, 10, 12),
            depth=(4, 8, 6),
            activation="silu",
        ),
        # Trained on photographs, and small enough for its weights to come with the package.
        Variant(
            "LeViTMini",
            embed_dim=(64, 112, 160),
            key_dim=16,
            num_heads=(3, 5, 6),
            depth=(2, 3, 2),
            stem_convs=3,
            input_size=80,
        ),
        # The demo's network: small enough to train on a laptop in half a minute.
        Variant(
            "LeViTTiny",
            embed_dim=(48, 64, 96),
            key_dim=16,
            num_heads=(3, 4, 6),
            depth=(1, 1, 1),
            stem_convs=3,
            input_size=32,
        ),
        # For tests: the paper's stem and unequal depths at the lowest cost.
        Variant(
            "LeViTNano",
            embed_dim=(32, 48, 64),
            key_dim=8,
            num_heads=(2, 3, 4),
            depth=(2, 1, 1),
            input_size=64,
        ),
    )
}


def check_sides(whose: str, sizes: tuple[int | None, int | None], stride: int) -> None:
    """Raises ValueError if the height or width is not a multiple of the stem's stride.

    Args:
      whose: the beginning of the error message.
      sizes: (height, width) in pixels; None for a side that is not known.
      stride: the stem's stride in pixels.
    """
    for axis, side in zip(("height", "width"), sizes, strict=True):
        if side is not None and (side < stride or side % stride):
            lower = max(side // stride * stride, stride)
            raise ValueError(
                f"{whose} {axis} must be a positive multiple of the stem's stride of {stride} "
                f"pixels. Received: {side}; the nearest that fit are {lower} and {lower + stride}."
            )


def list_variants() -> list[str]:
    """Returns the canonical names of all variants, the paper's five first."""
    return list(_VARIANTS)


def _key(name: str) -> str:
    """Normalises a name: LeViT_128S, levit-128S and timm's levit_conv_128s give the same key."""
    return re.sub(r"[^a-z0-9]", "", name.lower().split(".")[0]).replace("levitconv", "levit")


def get_variant(variant: str | Variant) -> Variant:
    """Looks up a variant by name; a `Variant` is returned unchanged.

    Args:
      variant: a canonical name, or the spelling of the official repository ("LeViT_128S"), timm
        ("levit_128s", "levit_conv_128s") or Hugging Face ("levit-128S"); or a `Variant`.

    Raises:
      ValueError: unknown name; the message lists all names and suggests the most similar one.
      TypeError: neither a string nor a `Variant`.
    """
    if isinstance(variant, Variant):
        return variant
    if not isinstance(variant, str):
        raise TypeError(f"Expected a variant name or a levit_tf.Variant. Received: {variant!r}")
    by_key = {_key(name): found for name, found in _VARIANTS.items()}
    key = _key(variant.rsplit("/", 1)[-1])
    if key in by_key:
        return by_key[key]
    known = list_variants()
    hint = did_you_mean(key, known, cutoff=0)
    raise ValueError(f"Unknown LeViT variant {variant!r}.{hint} Known: {', '.join(known)}.")
