"""Converts a Keras LeViT to a PyTorch state dict; the command is `converters.to_pytorch`."""

from __future__ import annotations

import os

import numpy as np

from levit_common.choices import PYTORCH_FILES, PYTORCH_PICKLES
from levit_common.files import atomic_path, check_suffix
from levit_tf.applications import load_by_name
from levit_tf.weights.checkpoint_files import check_finite
from levit_tf.weights.pytorch_weights import to_state_dict


def convert(
    model: str | os.PathLike,
    output: str | os.PathLike,
    flavour: str = "official",
    *,
    overwrite: bool = False,
) -> dict[str, np.ndarray]:
    """Writes the state dict of a saved Keras LeViT.

    Args:
      model: a LeViT in train form, as in `levit_tf.applications.load_by_name`.
      output: a `.safetensors`, `.pth`, `.pt` or `.bin` file. A pickle in official naming contains
        {"model": state dict}, as the official code expects; all other files contain only the state
        dict.
      flavour: "official", "timm", "timm_conv" or "hf".
      overwrite: whether an existing `output` is replaced.

    Returns:
      The state dict that was written.

    Raises:
      FileNotFoundError: there is no `model`.
      FileExistsError: `output` exists and `overwrite` is false.
      ImportError: `output` needs torch, which is not installed.
      ValueError: the suffix is unknown, `flavour` does not support the model, or weights are NaN or
        infinite. Then nothing is written.
    """
    model, output = os.fspath(model), os.fspath(output)
    check_suffix(output, *PYTORCH_FILES)
    with atomic_path(output, overwrite) as temporary:
        state = to_state_dict(load_by_name(model, train_form=True), flavour)
        check_finite(model, state)
        if output.endswith(PYTORCH_PICKLES):
            _save_torch(state, temporary, wrapped=flavour == "official")
        else:
            from safetensors.numpy import save_file

            save_file(state, temporary, metadata={"format": "pt"})
    return state


def _save_torch(state: dict[str, np.ndarray], path: str, wrapped: bool) -> None:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            'Writing .pth, .pt or .bin needs torch: pip install "levit_tf[torch]". '
            "A .safetensors file needs none."
        ) from error
    tensors = {key: torch.from_numpy(array) for key, array in state.items()}
    torch.save({"model": tensors} if wrapped else tensors, path)
