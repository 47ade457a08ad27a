"""Converts a Keras LeViT to an ONNX file. The command is `python -m converters.to_onnx`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np

from converters.choices import (
    DEFAULT_CALIBRATION_METHOD,
    DEFAULT_OPSET,
    check_calibration_method,
    check_opset,
)
from converters.deploy import deploy_graph
from converters.onnx.quantize import quantize
from converters.onnx.quantized_layers import QuantizedLayer, quantized_layers
from converters.onnx.recipes import TOKENS, check_layout, check_onnx_recipe
from converters.onnx.token_layout import with_tokens
from converters.tflite.quantization_ranges import Ranges
from converters.tflite.tflite_check import compare_with_keras
from converters.tflite.tflite_graph import Graph
from converters.verification.export_check import check_export
from converters.verification.verify_graphs import onnx_artefact
from converters.verification.verify_keras import model_artefact
from levit_common.files import atomic_path, check_suffix
from levit_common.shipped_names import INPUT
from levit_tf.keras_graph.flatten import flatten
from levit_tf.prediction.onnx_network import CLASS_NAMES_KEY, INPUT_RANGE_KEY, fixed_sides
from levit_tf.prediction.predictor import exported_class_names

# Float32 arithmetic in another order causes differences a hundred times smaller.
TOLERANCE = 1e-4

INT8_RECIPE = "int8"
_BATCH_DIMENSION = "batch"
# Batch size for tracing the graph. Not 1, which optimisers drop and which is a common dimension.
_TRACED_BATCH = 2


class Written(float):
    """The largest difference of an output from Keras, relative to the output's largest value.

    Attributes:
      int8: names of the layers that compute in int8.
      layers: number of convolutions and dense layers.
    """

    int8: tuple[str, ...]
    layers: int

    def __new__(cls, error: float, int8: Sequence[str], layers: int) -> Written:
        written = super().__new__(cls, error)
        written.int8, written.layers = tuple(int8), layers
        return written


def to_onnx(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    recipe: str = "fp32",
    layout: str | None = None,
    opset: int = DEFAULT_OPSET,
    batch_size: int | None = None,
    class_names: Sequence[str] | None = None,
    input_range: str | None = None,
    calibration_images: np.ndarray | None = None,
    calibration_method: str | None = None,
    ranges: Callable[[Graph], Ranges] | None = None,
    overwrite: bool = False,
) -> Written:
    """Writes a LeViT as an ONNX file.

    Args:
      model: see `converters.deploy.deploy_graph`.
      path: the file to write, ending in .onnx.
      recipe: one of `converters.onnx.recipes.ONNX_RECIPES`. int8 uses the same integers and ranges
        as the int8 TFLite file of the same model and pictures.
      layout: one of `converters.onnx.recipes.LAYOUTS`; None for the default of the recipe.
      opset: version of ONNX's operators, one of `converters.choices.OPSETS`.
      batch_size: batch size; None for any size.
      class_names: one name per class, stored in the file's metadata; by default those of the model.
      input_range: see `converters.deploy.deploy_graph`.
      calibration_images: pictures (n, height, width, 3), RGB 0..255, like those of the application.
        int8 learns its ranges from them, and every file is compared with Keras on some of them. If
        None, files are compared on pictures that come with scikit-learn.
      calibration_method: see `converters.tflite.conversion.to_tflite`.
      ranges: see `converters.tflite.conversion.to_tflite`.
      overwrite: whether an existing `path` is replaced.

    Raises:
      FileExistsError: `path` exists and `overwrite` is false.
      ImportError: a package of the `onnx` extra is not installed, or for int8 of `tflite`.
      ValueError: an argument is not valid, `model` cannot be exported, or the file computes
        something else than Keras. Then nothing is written.
    """
    path = Path(path)
    check_suffix(path, ".onnx")
    check_opset(opset, batch_size)
    check_onnx_recipe(recipe, not (calibration_images is None and ranges is None))
    layout = check_layout(layout, recipe)
    check_calibration_method(calibration_method, recipe)
    _check_packages()
    is_int8 = recipe == INT8_RECIPE
    with atomic_path(path, overwrite) as temporary:
        reference = model_artefact(model, f"Model {model.name!r}", input_range, few=True)
        graph = deploy_graph(model, input_range=input_range, is_open=layout != TOKENS)
        if layout == TOKENS:
            graph = with_tokens(graph)
        int8 = []
        if is_int8:
            layers = _int8_layers(
                model, input_range, calibration_images, calibration_method, ranges
            )
            onnx_model, int8 = _quantized(graph, opset, batch_size, layers)
        else:
            onnx_model = onnx_of(graph, opset, batch_size)
        save(onnx_model, temporary, exported_class_names(class_names, reference.network))
        export = onnx_artefact(Path(temporary))
        if is_int8:
            found = compare_with_keras(export, path, reference, calibration_images, None)
            error = found.outputs[found.deciding].relative
        else:
            error = check_export(reference, export, calibration_images, TOLERANCE, path)
    return Written(error, int8, _layer_count(onnx_model))


def _check_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'ONNX export needs {error.name}, which is missing: pip install "levit_tf[onnx]"'
        ) from error


def _int8_layers(
    model: keras.Model,
    input_range: str | None,
    images: np.ndarray | None,
    method: str | None,
    ranges: Callable[[Graph], Ranges] | None,
) -> dict[str, QuantizedLayer]:
    """Returns the layers of the model's int8 TFLite file."""
    from converters.tflite.conversion import checked_images, float32_graph
    from converters.tflite.quantize import quantize_mixed_int8

    graph = deploy_graph(model, 1, input_range)
    images = checked_images(images, graph)
    lite = float32_graph(graph)
    method = method or DEFAULT_CALIBRATION_METHOD
    if ranges is None:
        lite = quantize_mixed_int8(lite, images, method=method)
    else:
        lite = quantize_mixed_int8(lite, ranges=ranges(lite), method=method)
    layers = flatten(graph).layers
    return quantized_layers(lite, {layer.name for layer in layers if hasattr(layer, "kernel")})


def _quantized(
    graph: keras.Model, opset: int, batch_size: int | None, layers: dict[str, QuantizedLayer]
):
    """Returns the int8 ONNX model of a graph of tokens, and the names of its int8 layers."""
    import onnx

    model = onnx_of(graph, opset, batch_size)
    int8 = quantize(model, layers)
    if not int8:
        raise ValueError(
            f"Model {graph.name!r}: none of its layers can be int8. Take --recipe=fp32."
        )
    del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True), int8


def _layer_count(model) -> int:
    """Counts the convolutions and the products with constants in an ONNX model."""
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {node.output[0] for node in model.graph.node if set(node.input) <= constants}
    return sum(
        node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in constants
        for node in model.graph.node
    )


def onnx_of(graph: keras.Model, opset: int, batch_size: int | None):
    """Converts a deploy graph to an ONNX model.

    Args:
      graph: see `converters.deploy`.
      opset: one of `converters.choices.OPSETS`.
      batch_size: batch size; None for any size.
    """
    import onnx
    import onnx_ir
    from onnx_ir.passes import common

    from converters.onnx.onnx_layout import to_channels_first

    proto = onnx.shape_inference.infer_shapes(_convert(graph, opset))
    proto.graph.name = graph.name
    model = onnx_ir.from_proto(proto)
    if not is_open_graph(graph):  # the rewriting rules need known grids
        to_channels_first(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    _set_sizes(model, batch_size, graph)
    common.RemoveUnusedNodesPass()(model)  # and constants
    common.DeduplicateInitializersPass()(model)
    common.RemoveUnusedOpsetsPass()(model)
    _rename(model, set(_layer_names(graph)))
    common.ShapeInferencePass(check_type=True, strict_mode=True)(model)
    return onnx_ir.to_proto(model)


def save(model, path: str | os.PathLike, class_names: Sequence[str] | None) -> None:
    """Writes an ONNX model with its class names and its input range, and checks the file."""
    import onnx

    properties = {INPUT_RANGE_KEY: "pixels"}  # as `levit_common.shipped_names` says
    if class_names:
        properties[CLASS_NAMES_KEY] = "\n".join(class_names)
    onnx.helper.set_model_props(model, properties)
    onnx.save_model(model, os.fspath(path))
    onnx.checker.check_model(os.fspath(path), full_check=True)


def _convert(graph: keras.Model, opset: int):
    """Converts a deploy graph with tf2onnx, for `_TRACED_BATCH` images."""
    import onnx
    import tensorflow as tf
    import tf2onnx

    # If sides are open, all shapes are computed from the input's shape, including the batch.
    batch = None if is_open_graph(graph) else _TRACED_BATCH
    spec = tf.TensorSpec((batch, *graph.input.shape[1:]), tf.float32, name=INPUT)
    function = tf.function(
        lambda images: graph(images, training=False), input_signature=[spec], autograph=False
    )
    proto, _ = tf2onnx.convert.from_function(function, input_signature=[spec], opset=opset)
    # What a layer has computed beforehand, such as the mean of a Normalization, became an input.
    captures = {inside.name: x for x, inside in function.get_concrete_function().graph.captures}
    for value in [value for value in proto.graph.input if value.name in captures]:
        proto.graph.input.remove(value)
        array = captures[value.name].numpy()
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
    _round_scales_up(proto.graph)
    return proto


def _round_scales_up(graph) -> None:
    """Rounds the scales of resized maps up, so that the maps get the intended size.

    A side becomes floor(side * scale). A scale such as 10 / 3, rounded down to float32, gives a
    side of 9 for 3. The next larger float32 number gives 10, and its error is negligible.
    """
    import onnx

    arrays = {tensor.name: tensor for tensor in graph.initializer}
    names = {node.input[2] for node in graph.node if node.op_type == "Resize"} & set(arrays)
    for name in names:
        scales = onnx.numpy_helper.to_array(arrays[name])
        larger = np.where(scales % 1 == 0, scales, np.nextafter(scales, np.float32(np.inf)))
        arrays[name].CopyFrom(onnx.numpy_helper.from_array(larger.astype(np.float32), name))


def is_open_graph(graph: keras.Model) -> bool:
    """Returns whether a deploy graph takes pictures of every size."""
    return None in graph.input.shape[1:3]


def _set_sizes(model, batch_size: int | None, deployed: keras.Model) -> None:
    """Replaces the batch size of the traced graph, and names the open sides."""
    import onnx_ir

    graph = model.graph
    names = ["height", "width"]
    sides = [side or name for side, name in zip(deployed.input.shape[1:3], names, strict=True)]
    if is_open_graph(deployed):
        for value in graph.inputs:
            value.shape = onnx_ir.Shape(
                [batch_size or _BATCH_DIMENSION, *sides, deployed.input.shape[3]]
            )
        for value in graph.outputs:
            sides = fixed_sides(value.shape[1:])
            value.shape = onnx_ir.Shape([batch_size or _BATCH_DIMENSION, *sides])
        return
    first = {
        node: node.inputs[0].shape[0]
        for node in graph
        if node.op_type == "Reshape" and node.inputs[0].shape is not None
    }
    for node in graph:
        shape = node.inputs[1].const_value.numpy() if node.op_type == "Reshape" else [None]
        if shape[0] not in (None, 0, -1):
            # 0 keeps the input's dimension: the batch, or the batch times windows. If it is merged
            # with the next dimension, or split from it again, -1 makes ONNX compute the dimension.
            kept_or_rest = 0 if first.get(node) == shape[0] or -1 in shape[1:] else -1
            array = np.array([kept_or_rest, *shape[1:]], np.int64)
            kept = onnx_ir.Value(name=f"{node.name}/shape", const_value=onnx_ir.tensor(array))
            graph.register_initializer(kept)
            node.replace_input_with(1, kept)
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None  # it has the old batch size; it is inferred again
    for value in (*graph.inputs, *graph.outputs):
        value.shape = onnx_ir.Shape([batch_size or _BATCH_DIMENSION, *value.shape[1:]])


def _layer_names(graph: keras.Model) -> Iterator[str]:
    for layer in graph.layers:
        if isinstance(layer, keras.Model):
            yield from _layer_names(layer)
        else:
            yield layer.name


def _rename(model, layers: set[str]) -> None:
    """Renames nodes and their outputs by their Keras layer and their kind."""
    taken = {value.name for value in (*model.graph.inputs, *model.graph.outputs)}
    for node in model.graph:
        weights = [value for value in node.inputs if value.is_initializer()]
        sources = [node.name, *(value.name for value in (*node.outputs, *weights))]
        layer = next(filter(None, (_layer_of(name, layers) for name in sources)), None)
        stem = f"{layer}/{node.op_type}" if layer else node.op_type
        name, count = stem, 1
        while name in taken:
            name, count = f"{stem}_{count}", count + 1
        taken.add(name)
        node.name = name
        for value in node.outputs:
            if not value.is_graph_output():
                value.name = name
        if node.op_type in ("Conv", "Gemm"):
            for value, leaf in zip(weights, ("kernel", "bias"), strict=False):
                value.name = f"{name}/{leaf}"


def _layer_of(name: str, layers: set[str]) -> str | None:
    """Returns the layer in a path such as `deploy_1/LeViT256_1/stem_conv1_1/convolution`."""
    for part in name.split("/"):
        for candidate in (part, re.sub(r"_\d+$", "", part)):  # TensorFlow numbers repeated scopes
            if candidate in layers:
                return candidate
    return None
