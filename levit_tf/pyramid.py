"""LeViT as the backbone of detectors and segmenters: a pyramid of feature maps.

Level Pn has one position per 2**n pixels in each direction. The first levels are the activations of
the stem, the last ones the three stages: P1 to P6, or P1 to P5 in variants with a stem of stride 8.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import keras

from levit_common.spelling import did_you_mean
from levit_tf.keras_graph.introspection import variant_of
from levit_tf.layers import register
from levit_tf.model import LeViT
from levit_tf.names import stage_name
from levit_tf.variants import STAGES, Variant


@register
class PyramidBackbone(keras.Model):
    """A functional model whose outputs are the named levels of a pyramid.

    It has the same interface as keras-hub's `FeaturePyramidBackbone`. Created by `backbone`.
    """

    @property
    def pyramid_outputs(self) -> dict[str, keras.KerasTensor]:
        """Feature maps (batch, height, width, channels) by level: {"P3": ..., "P4": ...}."""
        return dict(self.output)

    @property
    def channels(self) -> dict[str, int]:
        """Number of channels of each level."""
        return {level: x.shape[-1] for level, x in self.pyramid_outputs.items()}

    @property
    def strides(self) -> dict[str, int]:
        """Stride of each level in pixels."""
        return {level: 2 ** int(level[1:]) for level in self.pyramid_outputs}


def backbone(
    model: str | Variant | keras.Model,
    levels: Sequence[str] | None = None,
    *,
    weights: str | os.PathLike | None = None,
    input_shape: Sequence[int | None] | int | None = (None, None, 3),
    **kwargs: Any,
) -> PyramidBackbone:
    """Builds a pyramid of feature maps.

    Args:
      model: a variant, as for `levit_tf.LeViT`; or a LeViT in train form, whose layers are shared.
      levels: levels to return, such as ("P3", "P4", "P5"); all by default.
      weights: as for `levit_tf.LeViT`.
      input_shape: as for `levit_tf.LeViT`; by default pictures of every size.
      **kwargs: other arguments of `levit_tf.LeViT`, such as `attention_window`.

    Returns:
      A model that takes normalised images, see `levit_tf.preprocess_input`. Its output is a
      dictionary of the levels.

    Raises:
      ValueError: there is no such level; or an argument is not valid; or `model` is a network that
        is not a LeViT in train form, or is given together with arguments for building a new one.
    """
    if isinstance(model, keras.Model):
        if weights is not None or kwargs or input_shape != (None, None, 3):
            raise ValueError(
                f"Model {model.name!r} is there already, so weights, input_shape and similar "
                "arguments are not allowed; for another size, use levit_tf.with_input_size."
            )
    else:
        model = LeViT(model, include_top=False, weights=weights, input_shape=input_shape, **kwargs)
    variant = variant_of(model)
    names = [f"stem_act{n}" for n in range(1, variant.stem_convs)]
    names += [stage_name(stage) for stage in range(STAGES)]
    known = {f"P{n}": name for n, name in enumerate(names, start=1)}
    chosen = list(known) if levels is None else list(levels)
    for level in chosen:
        if level not in known:
            raise ValueError(
                f"{variant.name} has no level {level!r}.{did_you_mean(str(level), known)} Known: "
                f"{', '.join(known)}."
            )
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"levels must differ, and be at least one. Received: {chosen}")
    outputs = {level: model.get_layer(known[level]).output for level in chosen}
    return PyramidBackbone(model.input, outputs, name=f"{model.name}_pyramid")
