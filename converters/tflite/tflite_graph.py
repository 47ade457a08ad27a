"""Represents TFLite files as graphs that can be inspected, changed and written again."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np

# Ops with a kernel for all channels.
LINEAR = ("CONV_2D", "FULLY_CONNECTED")
# Ops that only pass on values of their first input, or add zeros to them.
PASSING_ON = ("PAD", "RESHAPE", "TRANSPOSE")
_ALIGNMENT = 16  # alignment of constants in bytes, as the schema requires


class Graph:
    """The main graph of a TFLite file.

    Attributes:
      model: the whole file, as a `ModelT` object of the schema's generated classes.
      tensors: name -> `TensorT`.
    """

    def __init__(self, content: bytes):
        """Reads a file.

        Raises:
          ImportError: ai-edge-litert is not installed.
        """
        flatbuffer_utils, schema = _schema()
        self.model = flatbuffer_utils.read_model_from_bytearray(bytes(content))
        self._graph = self.model.subgraphs[0]
        self._codes = {
            code: name for name, code in vars(schema.BuiltinOperator).items() if name.isupper()
        }
        self.tensors = {tensor.name.decode(): tensor for tensor in self._graph.tensors}

    def other_graphs(self) -> Iterator[tuple[str, Graph]]:
        """Yields (name, graph) of the file's other graphs, mostly branches of control flow."""
        for subgraph in self.model.subgraphs[1:]:
            other = copy.copy(self)
            other._graph = subgraph
            other.tensors = {tensor.name.decode(): tensor for tensor in subgraph.tensors}
            yield (subgraph.name or b"").decode(), other

    @property
    def operators(self) -> list:
        """The ops in execution order."""
        return self._graph.operators

    def kind(self, operator) -> str:
        """Returns the name of an op in the schema, such as "CONV_2D"."""
        return self._codes[self.model.operatorCodes[operator.opcodeIndex].builtinCode]

    def inputs_of(self, operator) -> list[str]:
        """Returns the names of the tensors that an op reads, including constants."""
        return [self.name_of(index) for index in operator.inputs if index >= 0]

    def outputs_of(self, operator) -> list[str]:
        """Returns the names of the tensors that an op writes."""
        return [self.name_of(index) for index in operator.outputs]

    def inputs(self) -> list[str]:
        """Returns the names of the graph's inputs."""
        return [self.name_of(index) for index in self._graph.inputs]

    def outputs(self) -> list[str]:
        """Returns the names of the graph's outputs."""
        return [self.name_of(index) for index in self._graph.outputs]

    def signature_outputs(self) -> list[str]:
        """Returns the signature's names of the graph's outputs, in their order."""
        names = {o.tensorIndex: o.name.decode() for o in self.model.signatureDefs[0].outputs}
        return [names[index] for index in self._graph.outputs]

    def consumers(self, name: str) -> Iterator:
        """Yields the ops that read a tensor."""
        return (op for op in self.operators if name in self.inputs_of(op))

    def constant(self, name: str) -> np.ndarray | None:
        """Returns the value of a float32 constant; None if the tensor is not a constant.

        The array must not be changed.
        """
        tensor = self.tensors[name]
        data = self.model.buffers[tensor.buffer].data
        if data is None:
            return None
        return np.frombuffer(memoryview(data), np.float32).reshape(tensor.shape)

    def is_constant(self, name: str) -> bool:
        """Returns whether a tensor is a constant stored in the file."""
        return self.model.buffers[self.tensors[name].buffer].data is not None

    def is_int8(self, name: str) -> bool:
        """Whether a tensor is of int8."""
        _, schema = _schema()
        return self.tensors[name].type == schema.TensorType.INT8

    def first_of_chain(self) -> dict[str, str]:
        """Returns, for each output of an op that only passes on values, the original tensor."""
        first = {}
        for operator in self.operators:
            if self.kind(operator) in PASSING_ON:
                source = self.inputs_of(operator)[0]
                first[self.outputs_of(operator)[0]] = first.get(source, source)
        return first

    def set_constant(self, name: str, value: np.ndarray) -> None:
        """Replaces the value of a constant, without changing other tensors with the same buffer."""
        self.tensors[name].buffer = self._add_buffer(value)

    def add_constant(self, name: str, value: np.ndarray) -> int:
        """Adds a constant of any numpy type; returns its index."""
        return self._add_tensor(name, value.shape, value.dtype.name, self._add_buffer(value))

    def add_activation(self, name: str, shape: Sequence[int]) -> int:
        """Adds a float32 tensor; returns its index."""
        return self._add_tensor(name, shape, "float32", 0)

    def operator(self, kind: str, inputs: list[int], outputs: list[int], **options):
        """Creates an op; the caller adds it to `operators`.

        Args:
          kind: name of the op in the schema, such as "ADD", which also names its options' class.
          inputs: indices of tensors.
          outputs: indices of tensors.
          **options: options of the op, by their names in the schema's Python classes.
        """
        _, schema = _schema()
        # CONV_2D has Conv2DOptions; all reductions share ReducerOptions.
        name = "Reducer" if kind.startswith("REDUCE_") else kind.title().replace("_", "")
        name += "Options"
        return schema.OperatorT(
            opcodeIndex=self._code_index(getattr(schema.BuiltinOperator, kind)),
            inputs=inputs,
            outputs=outputs,
            builtinOptionsType=getattr(schema.BuiltinOptions, name),
            builtinOptions=getattr(schema, f"{name}T")(**options),
        )

    def name_of(self, index: int) -> str:
        """Returns the name of a tensor by its index."""
        return self._graph.tensors[index].name.decode()

    def new_tensor(self, name: str, shape: Sequence[int], dtype: str = "float32", buffer: int = 0):
        """Creates a tensor for a graph of `of_subgraphs`."""
        _, schema = _schema()
        return schema.TensorT(
            shape=list(shape),
            type=getattr(schema.TensorType, dtype.upper()),
            buffer=buffer,
            name=name.encode(),
            quantization=schema.QuantizationParametersT(),
            hasRank=True,
        )

    def new_constant(self, name: str, value: np.ndarray):
        """Creates a constant for a graph of `of_subgraphs`."""
        return self.new_tensor(name, value.shape, value.dtype.name, self._add_buffer(value))

    def of_subgraphs(
        self,
        subgraphs: Sequence[tuple[str, list, list, list[int], list[int]]],
        signatures: Sequence[tuple[str, int, dict[str, int], dict[str, int]]],
    ) -> Graph:
        """Builds a file from other graphs, with the constants and kinds of ops of this one.

        Args:
          subgraphs: name, tensors, ops, input indices and output indices of each graph; the first
            is the main graph.
          signatures: name, number of the graph, and indices of inputs and of outputs by name, for
            each signature.
        """
        _, schema = _schema()

        def maps(named):
            return [
                schema.TensorMapT(name=name.encode(), tensorIndex=index)
                for name, index in named.items()
            ]

        self.model.subgraphs = [
            schema.SubGraphT(
                name=name.encode(), tensors=tensors, operators=ops, inputs=inputs, outputs=outputs
            )
            for name, tensors, ops, inputs, outputs in subgraphs
        ]
        self.model.signatureDefs = [
            schema.SignatureDefT(
                signatureKey=name.encode(),
                subgraphIndex=number,
                inputs=maps(inputs),
                outputs=maps(outputs),
            )
            for name, number, inputs, outputs in signatures
        ]
        return Graph(self.content_as_it_is())

    def reshape(self, source: int, target: int):
        """Creates a RESHAPE from one tensor to another, both given by index."""
        output = self._graph.tensors[target]
        shape = list(output.shape)
        name = f"{output.name.decode()}/shape"
        constant = self.add_constant(name, np.array(shape, np.int32))
        return self.operator("RESHAPE", [source, constant], [target], newShape=shape)

    def store_as_float16(self, name: str) -> None:
        """Stores a float32 constant as float16, followed by a DEQUANTIZE op that expands it."""
        value = self.constant(name).astype(np.float16)
        stored = self.add_constant(f"{name}_float16", value)
        self.tensors[name].buffer = 0
        self.operators.insert(0, self.operator("DEQUANTIZE", [stored], [self._index(name)]))

    def set_metadata(self, name: str, value: bytes) -> None:
        """Sets an entry of the file's metadata."""
        _, schema = _schema()
        others = [m for m in self.model.metadata or [] if m.name.decode() != name]
        buffer = self._add_buffer(np.frombuffer(value, np.uint8))
        self.model.metadata = [*others, schema.MetadataT(name=name.encode(), buffer=buffer)]

    def make_uint8(self, name: str) -> None:
        """Turns an int8 input or output of the graph into uint8, with a QUANTIZE op next to it."""
        _, schema = _schema()
        inner = self.tensors[name]
        outer = copy.deepcopy(inner)
        outer.name, outer.type = f"{name}_uint8".encode(), schema.TensorType.UINT8
        outer.quantization.zeroPoint = [point + 128 for point in inner.quantization.zeroPoint]
        old, new = self._index(name), self._append(outer)
        signature = self.model.signatureDefs[0]
        if old in self._graph.inputs:
            ends, maps = self._graph.inputs, signature.inputs
            self.operators.insert(0, self.operator("QUANTIZE", [new], [old]))
        else:
            ends, maps = self._graph.outputs, signature.outputs
            self.operators.append(self.operator("QUANTIZE", [old], [new]))
        ends[ends.index(old)] = new
        for entry in maps:
            if entry.tensorIndex == old:
                entry.tensorIndex = new

    def part(self, operators: Sequence, outputs: Sequence[str]) -> tuple[bytes, list[str]]:
        """Builds a file from some of the ops.

        Args:
          operators: the ops in execution order.
          outputs: names of the tensors that the file returns.

        Returns:
          The content of the file, and the names of its inputs in their order: the tensors that the
          ops read but do not write.
        """
        made = {name for operator in operators for name in self.outputs_of(operator)}
        read = dict.fromkeys(name for operator in operators for name in self.inputs_of(operator))
        inputs = [name for name in read if name not in made and not self.is_constant(name)]
        other = copy.copy(self)
        other.model, graph = copy.copy(self.model), copy.copy(self._graph)
        graph.tensors = [copy.copy(tensor) for tensor in graph.tensors]
        graph.operators = [copy.copy(operator) for operator in operators]
        graph.inputs, graph.outputs = (list(map(self._index, names)) for names in (inputs, outputs))
        other._graph, other.model.subgraphs = graph, [graph]
        other.model.signatureDefs = other.model.metadata = None
        return other.content(), inputs

    def content(self) -> bytes:
        """Returns the file without unused parts, with aligned constants inside the flatbuffer."""
        self._drop_unused()
        return self.content_as_it_is()

    def content_as_it_is(self) -> bytes:
        """Returns the file in the same form, but with its unused parts."""
        flatbuffer_utils, _ = _schema()
        buffers = self.model.buffers
        self.model.buffers = [_Aligned(buffer) for buffer in buffers]
        try:
            return bytes(flatbuffer_utils.convert_object_to_bytearray(self.model))
        finally:
            self.model.buffers = buffers

    def _add_buffer(self, data: np.ndarray) -> int:
        _, schema = _schema()
        self.model.buffers.append(schema.BufferT(data=np.frombuffer(data.tobytes(), np.uint8)))
        return len(self.model.buffers) - 1

    def _add_tensor(self, name: str, shape: Sequence[int], dtype: str, buffer: int) -> int:
        return self._append(self.new_tensor(name, shape, dtype, buffer))

    def _append(self, tensor) -> int:
        name = tensor.name.decode()
        if name in self.tensors:
            raise ValueError(f"The file has a tensor {name!r} already.")
        self._graph.tensors.append(tensor)
        self.tensors[name] = tensor
        return len(self._graph.tensors) - 1

    def _index(self, name: str) -> int:
        return next(n for n, t in enumerate(self._graph.tensors) if t is self.tensors[name])

    def _drop_unused(self) -> None:
        """Removes tensors that no op reads or writes, and unused constants and kinds of ops."""
        graph = self._graph
        signatures = [s for s in self.model.signatureDefs or [] if s.subgraphIndex == 0]
        used = {*graph.inputs, *graph.outputs}
        for operator in graph.operators:
            used |= {index for index in (*operator.inputs, *operator.outputs) if index >= 0}
        place = {old: new for new, old in enumerate(sorted(used))}
        place[-1] = -1  # an omitted operand
        graph.tensors = [graph.tensors[index] for index in sorted(used)]
        self.tensors = {tensor.name.decode(): tensor for tensor in graph.tensors}
        for ends in (graph, *graph.operators):
            ends.inputs = [place[index] for index in ends.inputs]
            ends.outputs = [place[index] for index in ends.outputs]
        for entry in (entry for s in signatures for entry in (*s.inputs, *s.outputs)):
            entry.tensorIndex = place[entry.tensorIndex]

        users = [tensor for subgraph in self.model.subgraphs for tensor in subgraph.tensors]
        users += self.model.metadata or []
        kept = sorted({0, *(user.buffer for user in users)})  # the first is the empty one
        place = {old: new for new, old in enumerate(kept)}
        for user in users:
            user.buffer = place[user.buffer]
        self.model.buffers = [self.model.buffers[index] for index in kept]

        users = [op for subgraph in self.model.subgraphs for op in subgraph.operators]
        kept = sorted({user.opcodeIndex for user in users})
        place = {old: new for new, old in enumerate(kept)}
        for user in users:
            user.opcodeIndex = place[user.opcodeIndex]
        self.model.operatorCodes = [self.model.operatorCodes[index] for index in kept]

    def _code_index(self, code: int) -> int:
        _, schema = _schema()
        codes = self.model.operatorCodes
        for index, known in enumerate(codes):
            if known.builtinCode == code:
                return index
        # Old readers use the deprecated field, which has one byte.
        codes.append(schema.OperatorCodeT(deprecatedBuiltinCode=min(code, 127), builtinCode=code))
        return len(codes) - 1


class _Aligned:
    """A constant aligned to 16 bytes; the generated classes do not align constants."""

    def __init__(self, buffer):
        self._buffer = buffer

    def Pack(self, builder):  # noqa: N802, the name that flatbuffers gave it
        data = self._buffer.data
        if data is not None:
            self._buffer.data = np.frombuffer(memoryview(data), np.uint8)
            builder.Prep(_ALIGNMENT, len(self._buffer.data))
        return self._buffer.Pack(builder)


def _schema():
    """Returns the modules (helpers, schema) of LiteRT."""
    try:
        from ai_edge_litert import schema_py_generated
        from ai_edge_litert.tools import flatbuffer_utils
    except ImportError as error:
        raise ImportError(
            'Writing TFLite files needs LiteRT, which is missing: pip install "levit_tf[tflite]"'
        ) from error
    return flatbuffer_utils, schema_py_generated
