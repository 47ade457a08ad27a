"""Networks of today with published ImageNet accuracies, from timm, random weights.

Top-1 on ImageNet-1k is timm's own evaluation of its released weights, at the size named
(pytorch-image-models, results/results-imagenet.csv, 2025-10); nobody measured it here. How weights
were trained differs: `data` says where more than ImageNet-1k's labels went into them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path

import numpy as np

from benchmarks.networks import peers
from benchmarks.networks.forms import OPENVINO, random_pictures
from tests.support.references import timm_levit_module


@dataclasses.dataclass(frozen=True)
class TimmNetwork:
    """One network.

    Attributes:
      family: for the picture.
      name: timm's, with the tag of the weights that `top1` is of.
      top1: published, percent.
      size: side of its input, pixels, which `top1` is of.
      data: what the weights saw beside ImageNet-1k's labels: a teacher, or more pictures.
    """

    family: str
    name: str
    top1: float
    size: int
    data: str = ""

    @property
    def short(self) -> str:
        """The name without its tag, with the size where that is another than 224."""
        name = self.name.partition(".")[0]
        return name if self.size == 224 else f"{name} {self.size}"


_TEACHER, _MORE = "a teacher", "ImageNet-22k and a teacher"
NETWORKS = (
    TimmNetwork("MobileNetV4", "mobilenetv4_conv_small.e2400_r224_in1k", 73.8, 224),
    TimmNetwork("MobileNetV4", "mobilenetv4_conv_medium.e500_r224_in1k", 79.1, 224),
    TimmNetwork("MobileNetV4", "mobilenetv4_hybrid_medium.e500_r224_in1k", 80.4, 224),
    TimmNetwork("MobileNetV3-L", "mobilenetv3_large_100.ra4_e3600_r224_in1k", 76.3, 224),
    TimmNetwork("HGNetV2", "hgnetv2_b2.ssld_stage2_ft_in1k", 81.6, 224, _MORE),
    TimmNetwork("HGNetV2", "hgnetv2_b3.ssld_stage2_ft_in1k", 82.9, 224, _MORE),
    TimmNetwork("EfficientViT-B1", "efficientvit_b1.r224_in1k", 79.3, 224),
    TimmNetwork("EfficientViT-B1", "efficientvit_b1.r288_in1k", 80.3, 288),
    TimmNetwork("RepViT-M1.1", "repvit_m1_1.dist_450e_in1k", 81.3, 224, _TEACHER),
    TimmNetwork("FastViT-T8", "fastvit_t8.apple_dist_in1k", 77.2, 256, _TEACHER),
    TimmNetwork("EdgeNeXt-S", "edgenext_small.usi_in1k", 81.1, 256, _TEACHER),
    TimmNetwork("TinyViT-11M", "tiny_vit_11m_224.in1k", 81.5, 224),
    TimmNetwork("TinyViT-11M", "tiny_vit_11m_224.dist_in22k_ft_in1k", 83.2, 224, _MORE),
    TimmNetwork("EfficientNet-Lite", "tf_efficientnet_lite0.in1k", 74.8, 224),
    TimmNetwork("EfficientNet-Lite", "tf_efficientnet_lite2.in1k", 77.5, 260),
    TimmNetwork("EfficientNet-Lite", "tf_efficientnet_lite4.in1k", 81.5, 380),
    TimmNetwork("EfficientNet", "efficientnet_b0.ra4_e3600_r224_in1k", 78.6, 224),
    TimmNetwork("EfficientNet", "efficientnet_b1.ra4_e3600_r240_in1k", 80.4, 240),
    TimmNetwork("EfficientNet", "efficientnet_b2.ra_in1k", 80.6, 288),
    TimmNetwork("EfficientNet", "efficientnet_b3.ra2_in1k", 82.3, 320),
)


def build(name: str):
    """A network of timm's in evaluation mode, with what timm fuses for inference fused."""
    timm_levit_module()  # which imports timm where torchvision is not installed
    import timm
    import torch
    from timm.utils.model import reparameterize_model

    torch.manual_seed(0)
    return reparameterize_model(timm.create_model(name.partition(".")[0]).eval())


def without_batch_norm(module):
    """Drops BatchNorm in place, as the official speed_test.py does instead of folding it.

    The weights are random, and what is left costs what the folded network costs. An activation that
    timm keeps in the same layer stays.
    """
    import torch

    for name, child in module.named_children():
        if isinstance(child, torch.nn.BatchNorm2d):
            setattr(module, name, getattr(child, "act", torch.nn.Identity()))
        else:
            without_batch_norm(child)
    return module


def write_files(
    name: str, size: int, folder: Path, files: Collection[str], batch: int | None = 1
) -> None:
    """Writes files of a network of timm's for (batch, 3, size, size), normalised.

    Args:
      name: timm's.
      size: side of its input, pixels.
      folder: that they go to.
      files: fp32.onnx, which is always written, the same as openvino.onnx, int8.onnx, and int8.xml
        for OpenVINO.
      batch: pictures at a time; None for any number.
    """
    fp32 = folder / "fp32.onnx"
    peers.export_torch(build(name), (batch, 3, size, size), fp32)
    batches = np.split(random_pictures(8, size, channels_first=True, seed=1), 8)
    if OPENVINO in files:
        (folder / OPENVINO).hardlink_to(fp32)
    if "int8.onnx" in files:
        peers.quantize_for_onnxruntime(fp32, folder / "int8.onnx", batches)
    if "int8.xml" in files:
        peers.quantize_for_openvino(fp32, folder / "int8.xml", batches)
