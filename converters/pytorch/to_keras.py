"""Converts a PyTorch LeViT checkpoint to Keras; the command is `converters.from_pytorch`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from levit_common.files import atomic_path, check_suffix
from levit_common.hub_addresses import is_hub_address
from levit_lite.class_names import imagenet_class_names
from levit_tf import LeViT
from levit_tf.keras_graph.introspection import classifier_of
from levit_tf.keras_graph.properties import write_notes
from levit_tf.weights.checkpoint_files import read_checkpoint
from levit_tf.weights.hub.checkpoints import open_hub_checkpoint
from levit_tf.weights.pytorch_recognition import CheckpointInfo, recognise
from levit_tf.weights.pytorch_weights import ImportReport, load_state_dict


def convert(
    checkpoint: str | os.PathLike,
    output: str | os.PathLike,
    *,
    model: str | None = None,
    input_size: tuple[int, int] | None = None,
    checkpoint_size: tuple[int, int] | None = None,
    checkpoint_key: str | None = None,
    classes: int | None = None,
    heads: str | None = None,
    class_names: Sequence[str] | None = None,
    overwrite: bool = False,
) -> ImportReport:
    """Writes a PyTorch checkpoint as a Keras model in train form.

    Args:
      checkpoint: a `.safetensors`, `.pth`, `.pt` or `.bin` file, or a repository on the Hugging
        Face hub, `hf://OWNER/NAME`, which defines class names, input size and normalisation.
      output: the `.keras` file to write.
      model: name of the variant; recognised by default.
      input_size: (height, width) of the images of the new model, pixels; by default those of the
        checkpoint. Attention biases for another size are resized.
      checkpoint_size: (height, width) of the images that the checkpoint was trained on, if they are
        neither square nor of `input_size`.
      checkpoint_key: key of the state dict in a file that holds several, such as "model_ema"; by
        default the trained weights. Keys of nested dictionaries are joined by "/".
      classes: number of classes; by default that of the checkpoint. For another number, the heads
        are newly initialised.
      heads: "average", "both" or "single" as in `levit_tf.LeViT`; by default "average" for a
        checkpoint with two heads and "single" for a checkpoint with one.
      class_names: one name per class; by default the repository's, else ImageNet's for 1000
        classes, else none.
      overwrite: whether an existing `output` is replaced.

    Returns:
      A report of what was copied, resized, initialised and left out.

    Raises:
      FileExistsError: `output` exists and `overwrite` is false.
      PermissionError, ConnectionError, ImportError: see `open_hub_checkpoint`.
      ValueError: the checkpoint cannot be read, does not fit, or an argument is out of range.
        Then nothing is written.
    """
    output = os.fspath(output)
    check_suffix(output, ".keras")
    with atomic_path(output, overwrite) as temporary:
        on_hub = None
        if is_hub_address(checkpoint):
            on_hub = open_hub_checkpoint(checkpoint, checkpoint_key, model)
            state, checkpoint_size = on_hub.state, checkpoint_size or on_hub.input_size
            checkpoint = str(on_hub.address)
        else:
            state = read_checkpoint(checkpoint, checkpoint_key)
        source = "; ".join([os.fspath(checkpoint), *state.notes])
        info = on_hub.info if on_hub else recognise(state, variant=model, source=source)
        new_heads = classes is not None and classes != info.classes
        if info.classes is None and not new_heads:
            without = f" (recognised: {info})" if info.left_out else ""
            raise ValueError(
                f"{source}: has no classification head{without}. Say how many classes a new one "
                "gets: --classes"
            )
        height, width = input_size or checkpoint_size or _own_size(info, checkpoint)
        network = LeViT(
            info.variant,
            input_shape=(height, width, info.channels),
            classes=info.classes if classes is None else classes,
            heads=heads or ("average" if info.has_head_dist else "single"),
        )
        report = load_state_dict(
            network,
            state,
            info=info,
            checkpoint_size=checkpoint_size,
            new_heads=new_heads,
            source=source,
        )
        names = class_names
        if names is None and on_hub and not new_heads:
            names = on_hub.class_names
        # The order of ImageNet's classes is the same in all these codebases.
        if names is None and classifier_of(network).classes == len(imagenet_class_names()):
            names = imagenet_class_names()
        file = f"{info.variant.name}, {info.flavour} checkpoint {Path(checkpoint).name}"
        write_notes(
            network,
            class_names=names,
            input_range=on_hub and on_hub.input_range,
            origin=on_hub.origin if on_hub else file,
        )
        network.save(temporary)
    return report


def _own_size(info: CheckpointInfo, checkpoint: str | os.PathLike) -> tuple[int, int]:
    if info.square_size is None:
        raise ValueError(
            f"{checkpoint}: its attention biases belong to no square image. Say which size it was "
            "trained on: --checkpoint_size=HEIGHTxWIDTH"
        )
    return info.square_size, info.square_size
