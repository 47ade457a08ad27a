"""LeViT as a Keras functional model: stem, three stages, pooling, two classification heads.

The graph is flat, so `model.get_layer("stages_1_blocks_0_attn")` works as users of
keras.applications expect; layer names are timm's module names with underscores for dots.
"""

from __future__ import annotations

import numbers
import os
from collections.abc import Callable, Iterable, Sequence

import keras

from levit_common.choices import HEADS
from levit_common.hub_addresses import is_hub_address
from levit_tf.attention import Attention
from levit_tf.attention_bias import Grid
from levit_tf.keras_graph.front import input_range_texts
from levit_tf.keras_graph.notes import CLASSES, INPUT, ORIGIN, note_layer
from levit_tf.keras_graph.properties import class_name_texts
from levit_tf.layers import MLP, Classifier, ConvBN, DivisibleSides, DropPath
from levit_tf.names import CLASSIFIER, PRE_LOGITS, PREDICTIONS, SIDES, STEM, stage_name
from levit_tf.variants import STAGE_STRIDE, STAGES, Variant, get_variant
from levit_tf.weights.hub.checkpoints import HubCheckpoint, open_hub_checkpoint
from levit_tf.weights.loading import load_weights
from levit_tf.weights.packaged import find_packaged

IMAGENET_CLASSES = 1000
POOLINGS = (None, "avg", "max")


def LeViT(  # noqa: N802, named as the functions of keras.applications are
    variant: str | Variant,
    include_top: bool = True,
    weights: str | os.PathLike | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: Sequence[int] | int | None = None,
    pooling: str | None = None,
    classes: int | None = None,
    classifier_activation: str | Callable | None = "softmax",
    heads: str = "average",
    drop_path_rate: float | None = None,
    name: str | None = None,
    bias_size: Sequence[int] | int | None = None,
    attention_window: int | None = None,
) -> keras.Model:
    """Builds a LeViT, with the arguments of keras.applications.

    The model takes normalised pixels, see `levit_tf.preprocess_input`, and stores this fact in its
    graph: `levit_tf.model_properties` reads it, `levit_tf.with_properties` changes it.

    Args:
      variant: one of `list_variants()` in any common spelling, or a `Variant` of your own.
      include_top: whether the classification heads are part of the model.
      weights: None for the reference's random initialisation; "imagenet" for the released weights
        (the five paper variants); "imagenette" for those of LeViTMini, which come with the
        package; a file: `.keras` of a LeViT, or `.weights.h5`; or a repository on the Hugging Face
        hub, "hf://OWNER/NAME", optionally followed by "@REVISION". The repository defines its own
        classes, input size and normalisation, which then become the defaults.
      input_tensor: Keras tensor to use as the image input, e.g. the output of other layers.
      input_shape: (height, width, channels), or one number for the sides of a square RGB picture;
        by default the variant's square RGB, or the input shape of a repository on the hub. Height
        and width must be multiples of the stem's stride, since the attention biases belong to a
        grid. None leaves a side open: one model for every such size.
      pooling: without the top, "avg" or "max" over the tokens gives (batch, channels), None the
        last feature map (batch, height, width, channels).
      classes: number of classes, with the top; by default 1000, the 10 of "imagenette", or those of
        a repository on the hub.
      classifier_activation: activation of the logits; None to return the logits. With `weights`
        only "softmax" or None is allowed, and `heads="both"` always returns logits.
      heads: "average" for the mean of the two heads' logits; "both" for a dictionary of both
        logits, {"head", "head_dist"}; "single" for a model without the distillation head.
      drop_path_rate: stochastic depth rate of all residual branches; by default the variant's.
      name: model name; the variant's by default.
      bias_size: picture size that the attention bias tables are made for: (height, width) in
        pixels, or one number for both. By default the size of the input or, if that is open, the
        variant's. For pictures of any other size, the tables are resized when the model is called,
        by the rule of `levit_tf.transfer_weights`.
      attention_window: side of the attention windows of the first stage in tokens; the second stage
        uses half of it, see `levit_tf.attention_windows`. An even number, at most the first stage's
        grid for `bias_size`. None for attention over the whole map. The last stage, and the
        subsampling that leads into it, always use the whole map.

    Returns:
      A `keras.Model`.

    Raises:
      ValueError: an argument or a combination of arguments is not valid; the message says what is.
    """
    variant = get_variant(variant)
    if is_hub_address(weights):
        weights = open_hub_checkpoint(weights)
    on_hub = weights if isinstance(weights, HubCheckpoint) else None
    packaged = None if on_hub else find_packaged(weights, variant)
    known = packaged.classes if packaged else IMAGENET_CLASSES
    if on_hub:
        known = on_hub.info.classes or IMAGENET_CLASSES
        if input_tensor is None:
            input_shape = input_shape or _own_shape(on_hub)
    classes = known if classes is None else classes
    _check_arguments(include_top, weights, pooling, classes, classifier_activation, heads)
    if include_top and (packaged or on_hub or weights == "imagenet") and classes != known:
        shown = str(on_hub.address) if on_hub else weights
        raise ValueError(
            f"weights={shown!r} with include_top=True has {known} classes. Received: "
            f"classes={classes}. Build with {known} and call "
            f"levit_tf.reset_classifier(model, {classes}), or use include_top=False."
        )
    if drop_path_rate is None:
        drop_path_rate = variant.drop_path_rate
    elif not 0 <= drop_path_rate < 1:
        raise ValueError(f"drop_path_rate must lie in [0, 1). Received: {drop_path_rate!r}")

    inputs = _image_input(variant, input_tensor, input_shape)
    tables = _table_grids(variant, inputs.shape[1:3], bias_size, attention_window)
    x = _noted(inputs)
    if None in inputs.shape[1:3]:
        x = DivisibleSides(variant.stem_stride, name=SIDES.format(variant.stem_stride))(x)
    x = _backbone(variant, x, drop_path_rate, tables, attention_window)
    if include_top:
        x = classification_top(average_pool(x), classes, heads, classifier_activation)
    elif pooling == "avg":
        x = average_pool(x)
    elif pooling == "max":
        x = keras.layers.GlobalMaxPooling2D(data_format="channels_last", name="max_pool")(x)
    if input_tensor is not None:
        sources = keras.utils.get_source_inputs(input_tensor)
        inputs = sources[0] if len(sources) == 1 else sources
    model = keras.Model(inputs, x, name=name or variant.name)

    if weights is not None:
        load_weights(model, weights, variant, blank=LeViT)
    return model


def _own_shape(found: HubCheckpoint) -> tuple[int, int, int] | None:
    size = found.input_size
    return None if size is None else (*size, found.info.channels)


def _noted(images: keras.KerasTensor) -> keras.KerasTensor:
    """Adds a note of the images' pixel range, and an empty note for the origin of the weights."""
    channels = images.shape[-1]
    # The channel counts that `preprocess_input` accepts.
    known = input_range_texts("normalized", channels) if channels in (1, 3) else ()
    return note_layer(ORIGIN)(note_layer(INPUT, known)(images))


def average_pool(x: keras.KerasTensor, name: str = PRE_LOGITS) -> keras.KerasTensor:
    """Averages over the tokens: (batch, height, width, channels) -> (batch, channels)."""
    return keras.layers.GlobalAveragePooling2D(data_format="channels_last", name=name)(x)


def classification_top(
    x: keras.KerasTensor,
    classes: int,
    heads: str,
    classifier_activation: str | Callable | None,
    class_names: Sequence[str] = (),
) -> keras.KerasTensor | dict[str, keras.KerasTensor]:
    """Builds the model's outputs from pooled features (batch, channels).

    Args as in `LeViT`; `class_names` has one name per class, or is empty if they are not known.
    """
    check_top(classes, heads, classifier_activation)
    x = Classifier(classes, heads, name=CLASSIFIER)(x)
    names = note_layer(CLASSES, class_name_texts(class_names))
    if heads == "both":
        return {**x, "head": names(x["head"])}
    x = names(x)
    # float32, so that mixed precision does not round the probabilities.
    return keras.layers.Activation(
        classifier_activation or "linear", dtype="float32", name=PREDICTIONS
    )(x)


def check_top(classes: int, heads: str, classifier_activation: str | Callable | None) -> None:
    """Raises ValueError for a top that cannot be built; the message names the valid values."""
    if heads not in HEADS:
        raise ValueError(f"heads must be one of {HEADS}. Received: {heads!r}")
    if not _is_count(classes):
        raise ValueError(f"classes must be a positive integer. Received: {classes!r}")
    if heads == "both" and not _is_softmax_or_none(classifier_activation):
        raise ValueError(
            'heads="both" returns the logits of both heads; classifier_activation='
            f"{classifier_activation!r} cannot be applied. Leave it out, or choose "
            'heads="average" or "single".'
        )


def _is_count(value) -> bool:
    """Returns whether a value is a positive integer of any type, such as numpy's."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value > 0


def _is_softmax_or_none(activation) -> bool:
    return activation in (None, "softmax", keras.activations.softmax)


def _table_grids(variant, sizes, bias_size, window) -> list[Grid] | None:
    """Returns the bias tables' grid for each stage; None if the grids are those of the input."""
    if bias_size is None and None in sizes:
        bias_size = variant.input_size
    if isinstance(bias_size, numbers.Integral):
        bias_size = (bias_size, bias_size)
    if bias_size is not None and (len(bias_size) != 2 or not all(map(_is_count, bias_size))):
        raise ValueError(
            "bias_size must be (height, width) in pixels, two positive integers, or one for both. "
            f"Received: {bias_size!r}"
        )
    grids = variant.grids(tuple(map(int, sizes if bias_size is None else bias_size)))
    largest = min(grids[0]) // 2 * 2
    if window is not None and not (_is_count(window) and window % 2 == 0 and window <= largest):
        raise ValueError(
            "attention_window must be an even number of tokens, as every second is a query of the "
            f"next stage, and at most {largest}, as the bias tables are for "
            f"{grids[0][0]}x{grids[0][1]} tokens. Received: {window!r}"
            + ("" if not _is_count(window) else f"; the nearest is {_nearest(window, largest)}.")
        )
    return None if bias_size is None or tuple(bias_size) == tuple(sizes) else grids


def _nearest(window: int, largest: int) -> int:
    return max(2, min(window // 2 * 2, largest))


def _backbone(
    variant: Variant,
    x: keras.KerasTensor,
    drop_path_rate: float,
    tables: Sequence[Grid] | None,
    window: int | None,
) -> keras.KerasTensor:
    """Builds stem and stages: image (batch, height, width, channels) -> last feature map."""
    activation = variant.activation
    for n, filters in enumerate(variant.stem_filters, start=1):
        x = ConvBN(filters, name=f"stem_conv{n}")(x)
        if n < variant.stem_convs:  # none after the last
            x = keras.layers.Activation(activation, name=f"stem_act{n}")(x)
    x = keras.layers.Identity(name=STEM)(x)

    def residual(x, branch):
        y = branch(x)
        if drop_path_rate:
            y = DropPath(drop_path_rate, name=f"{branch.name}_drop_path")(y)
        return keras.layers.Add(name=f"{branch.name}_add")([x, y])

    def mlp(x, dim, name):
        return residual(x, MLP(variant.mlp_ratio * dim, dim, activation, name=name))

    def sizes(keys, queries, block=0):
        """Returns table grid and window arguments of attention from stage `keys` to `queries`."""
        found = {} if tables is None else {"table_grid": tables[keys]}
        if window is not None and queries < STAGES - 1:
            found.update(window=window // STAGE_STRIDE**keys, is_shifted=block % 2 == 1)
        return found

    for stage, dim in enumerate(variant.embed_dim):
        prefix = stage_name(stage)
        if stage > 0:
            x = Attention(
                num_heads=variant.downsample_num_heads(stage),
                key_dim=variant.key_dim,
                value_dim=variant.downsample_attn_ratio * variant.key_dim,
                output_dim=dim,
                stride=STAGE_STRIDE,
                activation=activation,
                name=f"{prefix}_downsample_attn",
                **sizes(stage - 1, stage),
            )(x)
            x = mlp(x, dim, f"{prefix}_downsample_mlp")
        for block in range(variant.depth[stage]):
            attention = Attention(
                num_heads=variant.num_heads[stage],
                key_dim=variant.key_dim,
                value_dim=variant.attn_ratio * variant.key_dim,
                output_dim=dim,
                activation=activation,
                gamma=0.0,
                name=f"{prefix}_blocks_{block}_attn",
                **sizes(stage, stage, block),
            )
            x = residual(x, attention)
            x = mlp(x, dim, f"{prefix}_blocks_{block}_mlp")
        x = keras.layers.Identity(name=prefix)(x)
    return x


def _image_input(variant, input_tensor, input_shape) -> keras.KerasTensor:
    """Returns the checked image input of the model: `input_tensor`, or a new `keras.Input`."""
    if input_tensor is not None:
        if not keras.utils.is_keras_tensor(input_tensor):
            raise ValueError(
                "input_tensor must be a Keras tensor, such as the output of keras.Input(). For an "
                f"array call the model instead. Received: {type(input_tensor).__name__}"
            )
        found = tuple(input_tensor.shape[1:])
        if input_shape is not None and found != tuple(input_shape):
            raise ValueError(
                f"input_shape {tuple(input_shape)} and the shape of input_tensor {found} differ; "
                "give one of them."
            )
        input_shape = found
    elif input_shape is None:
        input_shape = (variant.input_size, variant.input_size, 3)
    is_list = isinstance(input_shape, Iterable)
    sizes = tuple(input_shape) if is_list else (input_shape, input_shape, 3)
    given = [size for size in sizes if size is not None]
    if len(sizes) != 3 or sizes[2] is None or not all(map(_is_count, given)):
        raise ValueError(
            "input_shape must be (height, width, channels), three positive integers, of which "
            "height and width may be None to leave them open, or one for the sides of a square. "
            f"Received: {input_shape!r}"
        )
    input_shape = tuple(None if size is None else int(size) for size in sizes)
    # Raises for sides that the stem cannot divide.
    variant.grids(tuple(side or variant.stem_stride for side in input_shape[:2]))
    return input_tensor if input_tensor is not None else keras.Input(input_shape, name="images")


def _check_arguments(include_top, weights, pooling, classes, classifier_activation, heads) -> None:
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be one of {POOLINGS}. Received: {pooling!r}")
    if not include_top:
        return
    check_top(classes, heads, classifier_activation)
    if pooling is not None:
        raise ValueError(
            f"pooling={pooling!r} needs include_top=False: with the top, tokens are averaged."
        )
    if weights is not None and not _is_softmax_or_none(classifier_activation):
        raise ValueError(
            'With pretrained weights, classifier_activation must be None or "softmax". '
            f"Received: {classifier_activation!r}"
        )
