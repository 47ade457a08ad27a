"""Quantises an ONNX graph (QuantizeLinear, DequantizeLinear) like an int8 TFLite file.

Kernels and biases are the integers of the file. The input of a convolution or dense layer is
rounded to the file's grid. Its output is rounded only if this makes it a single integer operator,
or if other layers read it too. Everything else stays in float32. Activations are uint8 here, which
x86-64 can multiply directly by int8 kernels; the zero points are higher by 128, so the values are
the same.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping

import numpy as np

from converters.onnx.quantized_layers import QuantizedLayer
from converters.tflite.integer_grid import Grid

_UINT8_OFFSET = 128
# In steps of the grid: kernels that differ by more than this cannot be the rounded ones.
_ROUNDING = 0.51


def quantize(model, layers: Mapping[str, QuantizedLayer]) -> list[str]:
    """Quantises the convolutions and matrix products of an ONNX model, in place.

    Args:
      model: `onnx.ModelProto` returned by `converters.onnx.conversion.onnx_of`, whose nodes have
        the names of layers.
      layers: int8 layers by these names.

    Returns:
      Names of the layers that are now int8.

    Raises:
      ValueError: the kernel of a layer does not match the rounded one.
    """
    return _Quantizing(model.graph, layers).run()


class _Quantizing:
    def __init__(self, graph, layers: Mapping[str, QuantizedLayer]):
        self._graph = graph
        self._layers = layers
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._ranks = {
            value.name: len(value.type.tensor_type.shape.dim) for value in graph.value_info
        }
        self._nodes = []
        self._on_grid = {}  # (value, grid) -> the rounded value
        self._renamed = {}  # value -> the value that is read instead

    def run(self) -> list[str]:
        linear = [node for node in self._graph.node if self._is_linear(node)]
        times = collections.Counter(map(_layer_of, linear))
        found = {
            node.output[0]: (name, self._layers[name])
            for node, name in zip(linear, map(_layer_of, linear), strict=True)
            if name in self._layers and times[name] == 1  # else each call has its own ranges
        }
        for node in list(self._graph.node):
            node.input[:] = [self._renamed.get(name, name) for name in node.input]
            if node.output[0] not in found:
                self._nodes.append(node)
                continue
            _, layer = found[node.output[0]]
            if node.op_type == "MatMul":
                node.op_type = "Gemm"  # it accepts a bias
            node.input[0] = self._rounded(node.input[0], layer.input)
            self._quantize_constants(node, layer)
            self._nodes.append(node)
            if layer.output and self._is_rounded_after(node, found):
                self._renamed[node.output[0]] = self._rounded(node.output[0], layer.output)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        self._drop_unused()
        return [name for name, _ in found.values()]

    def _is_linear(self, node) -> bool:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in self._constants:
            return False
        # Gemm supports only two dimensions.
        return node.op_type != "MatMul" or self._ranks.get(node.input[0]) == 2

    def _is_rounded_after(self, node, found) -> bool:
        """Returns whether the result is rounded directly, to the grid of the file.

        ONNX Runtime has no integer convolution that returns floats, and no matrix product that
        returns both integers and floats, which residual branches would need.
        """
        (name,) = node.output
        if name in {output.name for output in self._graph.output}:
            return False
        readers = [reader for reader in self._graph.node if name in reader.input]
        return node.op_type == "Conv" or (
            len(readers) > 1 and any(reader.output[0] in found for reader in readers)
        )

    def _rounded(self, value: str, grid: Grid) -> str:
        """Returns the value rounded to a grid; it is rounded once for all of its readers."""
        key = value, grid
        if key not in self._on_grid:
            name = f"{value}/{len(self._on_grid)}"
            integers, rounded = f"{name}/QuantizeLinear", f"{name}/DequantizeLinear"
            scale = self._constant(f"{name}/scale", np.float32(grid.scale))
            zero = self._constant(f"{name}/zero", np.uint8(grid.zero_point + _UINT8_OFFSET))
            self._add("QuantizeLinear", [value, scale, zero], integers)
            self._add("DequantizeLinear", [integers, scale, zero], rounded)
            self._on_grid[key] = rounded
        return self._on_grid[key]

    def _quantize_constants(self, node, layer: QuantizedLayer) -> None:
        import onnx

        kernel, axis = _in_layout_of(node, layer.kernel)
        before = onnx.numpy_helper.to_array(self._constants[node.input[1]])
        steps = np.reshape(layer.scales, [-1 if n == axis else 1 for n in range(kernel.ndim)])
        if (
            kernel.shape != before.shape
            or (np.abs(kernel * steps - before) > _ROUNDING * steps).any()
        ):
            raise ValueError(f"{node.name}: its kernel is not the one that was rounded for TFLite.")
        values = [(kernel, layer.scales, axis), (layer.bias, layer.input.scale * layer.scales, 0)]
        for place, leaf, (integers, scales, axis) in zip(
            (1, 2), ("kernel", "bias"), values, strict=True
        ):
            name = f"{node.name}/{leaf}"
            inputs = [
                self._constant(f"{name}/integers", integers),
                self._constant(f"{name}/scales", scales.astype(np.float32)),
                self._constant(f"{name}/zeros", np.zeros(len(scales), integers.dtype)),
            ]
            self._add("DequantizeLinear", inputs, f"{name}/DequantizeLinear", axis=axis)
            del node.input[place : place + 1]
            node.input.insert(place, f"{name}/DequantizeLinear")

    def _add(self, kind: str, inputs: list[str], output: str, **attributes) -> None:
        import onnx

        self._nodes.append(onnx.helper.make_node(kind, inputs, [output], output, **attributes))

    def _constant(self, name: str, value: np.ndarray) -> str:
        import onnx

        array = np.ascontiguousarray(value).reshape(np.shape(value))
        self._graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        return name

    def _drop_unused(self) -> None:
        used = {name for node in self._graph.node for name in node.input}
        kept = [tensor for tensor in self._graph.initializer if tensor.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)


def _layer_of(node) -> str:
    return node.name.split("/")[0]


def _in_layout_of(node, kernel: np.ndarray) -> tuple[np.ndarray, int]:
    """Returns a TFLite kernel in the layout of an ONNX node, and the axis of its filters."""
    if node.op_type == "Conv":
        if kernel.ndim == 4:
            kernel = kernel.transpose(0, 3, 1, 2)  # (filters, channels, height, width)
        return kernel, 0
    kernel = kernel.reshape(len(kernel), -1)  # (filters, channels)
    is_transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return (kernel, 0) if is_transposed else (kernel.T, 1)
