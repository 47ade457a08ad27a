"""Builds all steps of a classifier as one deploy graph, which every converter can write.

The written graph is later split after the logits of each step. So each path of a file is
bit-identical to the plain file, and int8 ranges are learned only once.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from converters.deploy import (
    GRAPH_NAME,
    NORMALIZE,
    class_count,
    core_of,
    deploy_exits,
    deploy_graph,
    layer_or_none,
)
from levit_common.shipped_names import INPUT, LOGITS
from levit_tf.keras_graph.endings import have_exits
from levit_tf.keras_graph.properties import model_properties
from levit_tf.names import WHOLE, exit_names


def answer_name(step: int) -> str:
    """Returns the name of a step's logits in such a graph."""
    return f"{LOGITS}_{step}"


def step_names(models: Sequence[keras.Model]) -> list[str]:
    """Returns readable names of the steps: exits of one network, or networks of a cascade."""
    if len(models) == 1:
        return [*_exits(models[0]), WHOLE]
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        names = [f"{name} ({number})" for number, name in enumerate(names)]
    return names


def dynamic_graph(
    models: Sequence[keras.Model], batch_size: int | None = None, input_range: str | None = None
) -> keras.Model:
    """Builds the graph.

    Args:
      models: one model with exits, in train or deploy form; or several classifiers for a cascade,
        the fastest first.
      batch_size: batch size, if a format needs a fixed one.
      input_range: see `converters.deploy.deploy_graph`.

    Returns:
      A model of built-in layers. Input "images": float32 (batch, height, width, channels), pixels
      0..255. Outputs `answer_name(step)`: logits (batch, classes) of each step.

    Raises:
      ValueError: there is only one model and it has no exits, or the models of a cascade have
        different inputs or classes.
    """
    if len(models) == 1:
        (model,) = models
        names = _exits(model)
        if not names:
            raise ValueError(
                f"Model {model.name!r} has no exits: train them (--config=imagefolder_exits), or "
                "give several networks for a cascade, the quickest first."
            )
        graph = deploy_exits(model, batch_size, input_range)
        outputs = {answer_name(n): graph.output[name] for n, name in enumerate([*names, WHOLE])}
        return keras.Model(graph.input, outputs, name=GRAPH_NAME)
    check_cascade(models)
    graphs = [deploy_graph(model, batch_size, input_range) for model in models]
    images = keras.Input(batch_shape=graphs[0].input.shape, name=INPUT, dtype="float32")
    scaled, outputs = {}, {}
    for number, graph in enumerate(graphs):
        normalize, x = layer_or_none(graph, NORMALIZE), images
        if normalize is not None:  # networks with the same normalisation share the layer
            settings = str((normalize.scale, normalize.offset))
            if settings not in scaled:
                scaled[settings] = keras.layers.Rescaling(
                    normalize.scale,
                    normalize.offset,
                    name=NORMALIZE if not scaled else f"{NORMALIZE}_{number}",
                )(images)
            x = scaled[settings]
        core = core_of(graph)
        network = keras.Model(core.input, core.output, name=f"network_{number}")
        outputs[answer_name(number)] = network(x)
    return keras.Model(images, outputs, name=GRAPH_NAME)


def check_cascade(models: Sequence[keras.Model]) -> None:
    """Raises ValueError if networks differ in input, classes or class names, and names them."""
    facts = []
    for model in models:
        if have_exits(model.output):
            raise ValueError(f"Model {model.name!r} has exits: give it alone.")
        if class_count(model) is None:
            raise ValueError(f"Model {model.name!r} is no classifier.")
        names = model_properties(model).class_names
        facts.append((tuple(model.inputs[0].shape[1:]), class_count(model), names))
    for model, (shape, classes, names) in zip(models[1:], facts[1:], strict=True):
        first, of_first = models[0].name, facts[0]
        if (shape, classes) != of_first[:2]:
            raise ValueError(
                "The networks of a cascade take the same pictures and have the same classes: "
                f"{first} takes {_shape(of_first[0])} and knows {of_first[1]}, {model.name} takes "
                f"{_shape(shape)} and knows {classes}."
            )
        if names and of_first[2] and names != of_first[2]:
            label = next(n for n in range(classes) if names[n] != of_first[2][n])
            raise ValueError(
                f"The networks of a cascade have the same labels: class {label} is "
                f"{of_first[2][label]!r} in {first} and {names[label]!r} in {model.name}."
            )


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _exits(model: keras.Model) -> list[str]:
    if not have_exits(model.output):
        return []
    return exit_names(model.output)
