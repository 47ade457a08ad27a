"""The PyTorch implementations of LeViT that this one is compared with.

timm and Hugging Face come from their packages. The official repository is not on any package index:
`LEVIT_OFFICIAL_REPO` names a checkout of it, and without one its tests are skipped.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import importlib
import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Callable

import numpy as np

from levit_tf import Variant, get_variant

OFFICIAL_REPO = os.environ.get("LEVIT_OFFICIAL_REPO")
# timm's spelling; the conv models insert "conv_" after "levit_".
TIMM_NAMES = {
    "LeViT128S": "levit_128s",
    "LeViT128": "levit_128",
    "LeViT192": "levit_192",
    "LeViT256": "levit_256",
    "LeViT384": "levit_384",
    "LeViT384S8": "levit_384_s8",
    "LeViT512S8": "levit_512_s8",
    "LeViT512": "levit_512",
    "LeViT256D": "levit_256d",
    "LeViT512D": "levit_512d",
}


@dataclasses.dataclass
class Reference:
    """A PyTorch LeViT behind one face.

    Attributes:
      flavour: whose it is, as in `levit_common.choices.FLAVOURS`.
      module: the `torch.nn.Module`, in evaluation mode.
      forward: images (batch, 3, height, width) -> {"stages_0", ..., "pre_logits", "logits"} or, in
        training mode, {"head", "head_dist"}; numpy, feature maps as (batch, height, width, C).
    """

    flavour: str
    module: object
    forward: Callable[[np.ndarray], dict[str, np.ndarray]]

    @property
    def has_head_dist(self) -> bool:
        return any("dist" in name for name, _ in self.module.named_children())

    def state(self) -> dict[str, np.ndarray]:
        return {key: value.numpy().copy() for key, value in self.module.state_dict().items()}

    def train(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """The logits of both heads with batch statistics. Moves the running statistics."""
        self.module.train()
        try:
            return self.forward(images)
        finally:
            self.module.eval()


def timm_reference(
    variant: str | Variant,
    input_size: tuple[int, int] = (224, 224),
    conv: bool = False,
    **kwargs,
) -> Reference:
    """timm's model; for a variant that timm does not list, one of its dimensions."""
    timm_levit = timm_levit_module()
    variant = get_variant(variant)
    dims = {
        "embed_dim": variant.embed_dim,
        "key_dim": variant.key_dim,
        "num_heads": variant.num_heads,
        "depth": variant.depth,
        "act_layer": "hard_swish" if variant.activation == "hard_silu" else variant.activation,
        "stem_type": {3: "s8", 4: "s16"}[variant.stem_convs],
        "attn_ratio": variant.attn_ratio,
        "mlp_ratio": variant.mlp_ratio,
    }
    kind = timm_levit.LevitDistilled if kwargs.pop("distilled", True) else timm_levit.Levit
    _seed()
    module = kind(img_size=input_size, use_conv=conv, **dims, **kwargs).eval()
    return _timm_face(module, "timm_conv" if conv else "timm", input_size)


def timm_by_name(variant: str, input_size=(224, 224), conv: bool = False) -> Reference:
    """The model that `timm.create_model` makes, with timm's own choice of heads."""
    timm_levit = timm_levit_module()
    name = TIMM_NAMES[variant].replace("levit_", "levit_conv_" if conv else "levit_")
    _seed()
    module = getattr(timm_levit, name)(img_size=input_size).eval()
    return _timm_face(module, "timm_conv" if conv else "timm", input_size)


def _timm_face(module, flavour: str, input_size) -> Reference:
    import torch

    def forward(images):
        with torch.no_grad():
            if module.training:
                module.distilled_training = True
                head, head_dist = module(torch.from_numpy(images))
                return {"head": head.numpy(), "head_dist": head_dist.numpy()}
            last, stages = module.forward_intermediates(torch.from_numpy(images))
            # (batch, C, height, width) -> (batch, height, width, C)
            found = {f"stages_{n}": x.numpy().transpose(0, 2, 3, 1) for n, x in enumerate(stages)}
            found["pre_logits"] = module.forward_head(last, pre_logits=True).numpy()
            found["logits"] = module.forward_head(last).numpy()
            return found

    return Reference(flavour, module, forward)


def hf_reference(variant: str | Variant, size: int = 224, distilled: bool = True, **kwargs):
    """Hugging Face's model; `distilled` chooses the class with two heads."""
    import torch
    from transformers import (
        LevitConfig,
        LevitForImageClassification,
        LevitForImageClassificationWithTeacher,
    )

    variant = get_variant(variant)
    config = LevitConfig(
        image_size=size,
        hidden_sizes=list(variant.embed_dim),
        num_attention_heads=list(variant.num_heads),
        depths=list(variant.depth),
        key_dim=[variant.key_dim] * 3,
        **{"num_labels": 1000, **kwargs},
    )
    kind = LevitForImageClassificationWithTeacher if distilled else LevitForImageClassification
    _seed()
    module = kind(config).eval()

    def forward(images):
        with torch.no_grad():
            if module.training:
                out = module(torch.from_numpy(images))
                return {
                    "head": out.cls_logits.numpy(),
                    "head_dist": out.distillation_logits.numpy(),
                }
            found = {}
            # A stage here ends with the subsampling into the next one, so its last block is the
            # layer 2 * depth - 1.
            hooks = [
                stage.layers[2 * depth - 1].register_forward_hook(
                    lambda _, __, out, n=n: found.__setitem__(f"stages_{n}", _as_map(out.numpy()))
                )
                for n, (stage, depth) in enumerate(
                    zip(module.levit.encoder.stages, variant.depth, strict=True)
                )
            ]
            pooled = module.levit.register_forward_hook(
                lambda _, __, out: found.__setitem__("pre_logits", out.pooler_output.numpy())
            )
            found["logits"] = module(torch.from_numpy(images)).logits.numpy()
            for hook in (*hooks, pooled):
                hook.remove()
            return found

    return Reference("hf", module, forward)


def official_reference(variant: str | Variant, distilled: bool = True, classes: int = 1000):
    """The official model, from the checkout that `LEVIT_OFFICIAL_REPO` names."""
    import torch

    variant = get_variant(variant)
    levit = _official()
    _seed()
    module = levit.model_factory(
        C="_".join(map(str, variant.embed_dim)),
        D=variant.key_dim,
        N="_".join(map(str, variant.num_heads)),
        X="_".join(map(str, variant.depth)),
        drop_path=0,
        weights=None,
        num_classes=classes,
        distillation=distilled,
        pretrained=False,
        fuse=False,
    ).eval()
    ends = np.cumsum([2 * depth for depth in variant.depth]) + 2 * np.arange(3) - 1

    def forward(images):
        with torch.no_grad():
            if module.training:
                head, head_dist = module(torch.from_numpy(images))
                return {"head": head.numpy(), "head_dist": head_dist.numpy()}
            found = {}
            hooks = [
                module.blocks[end].register_forward_hook(
                    lambda _, __, out, n=n: found.__setitem__(f"stages_{n}", _as_map(out.numpy()))
                )
                for n, end in enumerate(ends)
            ]
            found["logits"] = module(torch.from_numpy(images)).numpy()
            for hook in hooks:
                hook.remove()
            found["pre_logits"] = found["stages_2"].mean((1, 2))
            return found

    return Reference("official", module, forward)


def _seed() -> None:
    """The same initial kernels on every run."""
    import torch

    torch.manual_seed(0)


def _as_map(tokens: np.ndarray) -> np.ndarray:
    """(batch, side * side, C) -> (batch, side, side, C)."""
    batch, count, channels = tokens.shape
    side = int(count**0.5)
    return tokens.reshape(batch, side, side, channels)


@functools.cache
def timm_levit_module():
    """timm.models.levit; timm imports torchvision everywhere and LeViT uses nothing of it."""
    if importlib.util.find_spec("torchvision") is not None:
        return importlib.import_module("timm.models.levit")
    stub = _Stub()
    sys.meta_path.append(stub)
    try:
        return importlib.import_module("timm.models.levit")
    finally:
        # Left in place, transformers would take the shells for the real thing.
        sys.meta_path.remove(stub)
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]


class _Stub:
    """An importer that answers to torchvision and everything below it with empty shells."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] != "torchvision":
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return _Shell(spec.name)

    def exec_module(self, module):
        module.__version__ = "0"


class _Shell(types.ModuleType):
    """A module in which every name is an empty class, but for an enumeration timm iterates."""

    InterpolationMode = enum.Enum(
        "InterpolationMode", "NEAREST BILINEAR BICUBIC BOX HAMMING LANCZOS"
    )

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


@functools.cache
def _official():
    """The official levit.py, with stand-ins for what current timm moved and for `utils`."""
    timm_levit_module()
    from timm.models import register_model

    registry = types.ModuleType("timm.models.registry")
    registry.register_model = register_model
    shims = {"timm.models.registry": registry, "utils": types.ModuleType("utils")}
    hidden = {name: sys.modules.get(name) for name in shims}
    sys.modules.update(shims)
    try:
        spec = importlib.util.spec_from_file_location(
            "levit_official", os.path.join(OFFICIAL_REPO, "levit.py")
        )
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # register_model looks it up
        spec.loader.exec_module(module)
    finally:
        for name, previous in hidden.items():
            if previous is None:
                del sys.modules[name]
            else:
                sys.modules[name] = previous
    return module
