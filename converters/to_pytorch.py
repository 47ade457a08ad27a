"""A Keras LeViT to a PyTorch state dict that the reference codebases load with `strict=True`.

    python -m converters.to_pytorch --model=levit256.keras --output=levit256.pth --format=official

A `.safetensors` file needs no torch; `.pth`, `.pt` and `.bin` need the `torch` extra.
"""

from __future__ import annotations

import os

import numpy as np
from absl import flags

from converters import cli
from levit_common.files import atomic_path
from levit_tf.weights.checkpoint_files import check_finite
from levit_tf.weights.loading import load_train_form
from levit_tf.weights.pytorch_names import FLAVOURS
from levit_tf.weights.pytorch_weights import to_state_dict

_TORCH_SUFFIXES = (".pth", ".pt", ".bin")
_SUFFIXES = (".safetensors", *_TORCH_SUFFIXES)


def convert(
    model: str | os.PathLike,
    output: str | os.PathLike,
    flavour: str = "official",
    *,
    overwrite: bool = False,
) -> dict[str, np.ndarray]:
    """Writes the state dict of a saved Keras LeViT.

    Args:
      model: a `.keras` file in train form.
      output: a `.safetensors`, `.pth`, `.pt` or `.bin` file. A pickle in official naming holds
        {"model": state dict}, as the official code expects; all others the bare state dict.
      flavour: "official", "timm", "timm_conv" or "hf".
      overwrite: whether an existing `output` is replaced.

    Returns:
      The state dict that was written.

    Raises:
      FileNotFoundError: there is no `model`.
      FileExistsError: `output` exists and `overwrite` is false.
      ImportError: `output` needs torch, which is not installed.
      ValueError: an unknown suffix, a model that `flavour` cannot hold, or weights that are NaN or
        infinite. Nothing is written.
    """
    model, output = os.fspath(model), os.fspath(output)
    suffix = os.path.splitext(output)[1]
    if suffix not in _SUFFIXES:
        raise ValueError(
            f"--output: expected a file name ending in {', '.join(_SUFFIXES)}. Received: {output!r}"
        )
    with atomic_path(output, overwrite) as temporary:
        state = to_state_dict(load_train_form(model), flavour)
        check_finite(model, state)
        if suffix in _TORCH_SUFFIXES:
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


def main(argv: list[str]) -> None:
    del argv  # cli.run lets none through
    args = flags.FLAGS
    state = convert(args.model, args.output, args.format, overwrite=args.overwrite)
    print(f"written: {args.output}, {len(state)} tensors in {args.format} naming")


def define_flags() -> None:
    flags.DEFINE_string("model", None, "Keras file of a LeViT in train form, ending in .keras.")
    flags.DEFINE_string("output", None, f"File to write: {', '.join(_SUFFIXES)}.")
    flags.DEFINE_enum("format", "official", FLAVOURS, "Whose names and layout to use.")
    flags.DEFINE_bool("overwrite", False, "Replace an existing output.")
    flags.mark_flags_as_required(["model", "output"])


if __name__ == "__main__":
    define_flags()
    cli.run(main)
