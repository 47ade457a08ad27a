"""`LeViT128S` to `LeViT384`: the paper's variants, with the signature of keras.applications.

Also `LeViTMini`, whose weights come with the package.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable

import keras

from levit_common.hub_addresses import is_hub_address
from levit_common.model_sources import KERAS_SOURCES, is_plain_name
from levit_tf.model import LeViT
from levit_tf.variants import Variant, get_variant
from levit_tf.weights.hub.checkpoints import HubCheckpoint, open_hub_checkpoint
from levit_tf.weights.keras_files import load_keras_file
from levit_tf.weights.loading import load_train_form
from levit_tf.weights.packaged import default_weights, variant_with_weights


def with_default_weights(variant: str | Variant) -> keras.Model:
    """Builds a variant with its default weights: from the package, or released for ImageNet.

    Raises:
      ValueError: there is no such variant, or there are no weights for it.
    """
    variant = get_variant(variant)
    return LeViT(variant, weights=default_weights(variant))


def from_hub(source: str | os.PathLike | HubCheckpoint) -> keras.Model:
    """Builds the LeViT of a repository on the hub, with its own heads, classes and input size.

    If the repository's network has no heads, the model has no top.

    Args:
      source: its address, "hf://OWNER/NAME", or the result of `open_hub_checkpoint`.

    Raises:
      See `levit_tf.weights.hub.checkpoints.open_hub_checkpoint`.
    """
    found = source if isinstance(source, HubCheckpoint) else open_hub_checkpoint(source)
    heads = "average" if found.info.has_head_dist else "single"
    has_top = found.info.classes is not None
    return LeViT(found.info.variant, include_top=has_top, weights=found, heads=heads)


def load_by_name(
    source: str | os.PathLike, train_form: bool = False, expected: str = KERAS_SOURCES
) -> keras.Model:
    """Loads the Keras model that a user names in a command.

    Args:
      source: a `.keras` file; the folder of a run, for its final network; a repository on the hub,
        "hf://OWNER/NAME"; or the name of a variant, for its default weights. A file of this name
        has priority.
      train_form: whether it must be a LeViT in train form.
      expected: what the caller accepts, for the error message.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged or of another kind, or there is neither a file nor a variant
        with weights of this name.
      ImportError, PermissionError, ConnectionError: see `from_hub`; or released weights are
        neither cached nor reachable.
    """
    if is_hub_address(source):
        return from_hub(source)
    if not is_plain_name(source):
        return load_train_form(source) if train_form else load_keras_file(source)
    return with_default_weights(variant_with_weights(os.fspath(source), expected))


def _application(variant_name: str) -> Callable[..., keras.Model]:
    variant = get_variant(variant_name)

    # The parameters of LeViT() without the first, so that the two signatures can never differ.
    signature = inspect.signature(LeViT)
    defaults = {"weights": default_weights(variant), "name": variant_name}
    if variant.published:
        defaults["classes"] = 1000
    parameters = [
        parameter.replace(default=defaults.get(parameter.name, parameter.default))
        for parameter in list(signature.parameters.values())[1:]
    ]
    signature = signature.replace(parameters=parameters)

    def application(*args, **kwargs) -> keras.Model:
        bound = signature.bind(*args, **kwargs)
        # A network on the hub has its own number of classes, which is the default.
        if is_hub_address(bound.arguments.get("weights")):
            bound.arguments.setdefault("classes", None)
        bound.apply_defaults()
        return LeViT(variant, **bound.arguments)

    application.__signature__ = signature
    published = variant.published
    about = "small, and trained on Imagenette: ten classes of photographs; docs/levit_mini.md."
    kind = "weights of the package"
    if published:
        about = (
            f"{published.top1} % ImageNet top-1, {published.params:g} M parameters, "
            f"{published.flops} M FLOPs (figures of the paper)."
        )
        kind = "released ImageNet weights"
    application.__name__ = application.__qualname__ = variant_name
    application.__doc__ = (
        f"Instantiates {variant_name}: {about}\n\n"
        f"The arguments are those of `levit_tf.LeViT`, with the {kind} by default.\n"
        "Inputs are pixels normalised by `levit_tf.preprocess_input`.\n"
    )
    return application


LeViT128S = _application("LeViT128S")
"""305 M FLOPs and 76.6 % on ImageNet (paper); arguments as in `levit_tf.LeViT`."""
LeViT128 = _application("LeViT128")
"""406 M FLOPs and 78.6 % on ImageNet (paper); arguments as in `levit_tf.LeViT`."""
LeViT192 = _application("LeViT192")
"""658 M FLOPs and 80.0 % on ImageNet (paper); arguments as in `levit_tf.LeViT`."""
LeViT256 = _application("LeViT256")
"""1,120 M FLOPs and 81.6 % on ImageNet (paper); arguments as in `levit_tf.LeViT`."""
LeViT384 = _application("LeViT384")
"""2,353 M FLOPs and 82.6 % on ImageNet (paper); arguments as in `levit_tf.LeViT`."""
LeViTMini = _application("LeViTMini")
"""For images of 80x80 pixels, weights in the package; arguments as in `levit_tf.LeViT`."""
