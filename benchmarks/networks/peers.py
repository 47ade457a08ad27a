"""What the networks of others need: their runtimes' quantisers, PyTorch, its exporter."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from converters.choices import DEFAULT_OPSET
from converters.speed.runtimes import Run
from levit_tf.variants import get_variant


def quantize_for_openvino(path: Path, output: Path, batches: Sequence[np.ndarray]) -> None:
    """An ONNX file to OpenVINO's own, int8 by NNCF with its settings for transformers.

    Args:
      path: the ONNX file.
      output: ends in ".xml"; the weights go beside it.
      batches: inputs to calibrate with.
    """
    import nncf
    import openvino

    model = openvino.Core().read_model(path)
    model = nncf.quantize(model, nncf.Dataset(batches), model_type=nncf.ModelType.TRANSFORMER)
    openvino.save_model(model, output)


def quantize_for_onnxruntime(path: Path, output: Path, batches: Sequence[np.ndarray]) -> None:
    """An ONNX file in int8 by ONNX Runtime's static quantisation, per channel.

    Convolutions and products with constants: others cost more than they save.

    Args:
      path: the file, whose input is called "images".
      output: the file to write.
      batches: inputs to calibrate with.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = output.with_suffix(".prepared.onnx")
    quant_pre_process(path, prepared)

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self._batches = iter(batches)

        def get_next(self):
            batch = next(self._batches, None)
            return None if batch is None else {"images": batch}

    quantization.quantize_static(
        prepared,
        output,
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Gemm"],
        per_channel=True,
    )


def kecam_levit(variant: str, **options):
    """The LeViT of keras_cv_attention_models as its own tools make it for inference."""
    from keras_cv_attention_models import levit, model_surgery

    model = getattr(levit, variant)(pretrained=None, **options).switch_to_deploy()
    return model_surgery.convert_to_fused_conv_bn_model(model)


def zeromodels_levit(variant: str):
    """The LeViT of zeromodels: normalised images to the mean of both heads' logits."""
    from zeromodels.models.levit import LevitImageClassify

    network = get_variant(variant)
    return LevitImageClassify(
        hidden_sizes=network.embed_dim,
        num_attention_heads=network.num_heads,
        depths=network.depth,
        key_dim=(network.key_dim,) * len(network.depth),
    )


def export_torch(module, shape: tuple[int | None, ...], path: Path) -> None:
    """Writes a PyTorch module as an ONNX file; its input has this shape and is called "images".

    Args:
      module: takes one input.
      shape: of the input; None in the first place for any batch.
      path: the file to write.
    """
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        torch.onnx.export(
            module,
            (torch.zeros(shape[0] or 2, *shape[1:]),),  # in 1, batches could be lost
            path,
            input_names=["images"],
            dynamic_axes={"images": {0: "batch"}} if shape[0] is None else None,
            opset_version=DEFAULT_OPSET,
            dynamo=False,
        )


def open_torch(module, images: np.ndarray, threads: int, form: str = "eager") -> Run:
    """A PyTorch module in evaluation mode.

    Args:
      module: takes normalised pictures, (batch, 3, height, width).
      images: (batch, height, width, 3).
      threads: of an operation.
      form: "eager", "traced" (frozen, as the official speed_test.py traces), or "compiled".
    """
    import torch

    torch.set_num_threads(threads)
    # (batch, height, width, 3) -> (batch, 3, height, width)
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))) / 255
    module = module.eval()
    with torch.inference_mode():
        if form == "traced":
            module = torch.jit.freeze(torch.jit.trace(module, x))
        elif form == "compiled":
            module = torch.compile(module)

    def run():
        with torch.inference_mode():
            return module(x)

    return run
