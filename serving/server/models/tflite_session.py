"""Runs a `model.tflite` with the interface of `SavedModelSession`, for --prefer_tflite_model."""

from __future__ import annotations

import contextlib
import os
import queue
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef, SignatureDef

from levit_lite.opening.tflite_probe import probe
from serving.server.models.input_tensors import ANY, InputSpec
from serving.signatures import PREDICT_METHOD, SERVING_DEFAULT
from serving.status_codes import Code
from serving.tensorflow_c.c_api import TensorFlowError

FILE = "model.tflite"  # in the folder of a version
# An entry of the file's metadata: a FlexBuffers map from names to SignatureDefs.
_SIGNATURES = b"signature_defs_metadata"


def litert_interpreter() -> type:
    """Returns LiteRT's class of interpreters.

    Raises:
      ImportError: LiteRT is not installed.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ImportError(
            "--prefer_tflite_model needs LiteRT: pip install 'levit_tf[tflite]'"
        ) from error
    return Interpreter


class TFLiteSession:
    """A TFLite file with several interpreters, which run in parallel.

    Attributes:
      meta_graph: a MetaGraphDef with the signatures.
    """

    def __init__(self, path: str | os.PathLike, interpreters: int):
        """Loads the file.

        Args:
          path: the folder with model.tflite.
          interpreters: number of interpreters.

        Raises:
          TensorFlowError: the file is not a TFLite file, or LiteRT cannot run it.
          ImportError: LiteRT is not installed.
        """
        interpreter_class = litert_interpreter()
        reason = probe(Path(path, FILE).absolute())
        if reason:
            raise TensorFlowError(Code.INVALID_ARGUMENT, f"{path}/{FILE}: {reason}")
        content = Path(path, FILE).read_bytes()

        def interpreter():
            found = interpreter_class(model_content=content, num_threads=1)
            found.allocate_tensors()
            return found

        self._new = interpreter
        self._free: queue.Queue = queue.Queue()
        try:
            for _ in range(interpreters):
                self._free.put(interpreter())
        except (ValueError, RuntimeError) as error:
            raise TensorFlowError(Code.INVALID_ARGUMENT, f"{path}/{FILE}: {error}") from error
        self._inputs, self._outputs = self._details()
        self.meta_graph = MetaGraphDef()
        for name, signature in self._signatures(content).items():
            self.meta_graph.signature_def[name].CopyFrom(signature)

    @property
    def signature_defs(self) -> dict[str, SignatureDef]:
        """The signatures by name."""
        return dict(self.meta_graph.signature_def)

    def input_spec(self, name: str) -> InputSpec:
        """Returns the spec of an input in the file; its first dimension follows the request.

        Trailing sizes of 1 may be omitted, as clients do; the kernels get them.
        """
        detail = _detail(self._inputs, name)
        shape = tuple(map(int, detail["shape_signature"]))
        return InputSpec(_data_type(detail), shape and (ANY, *shape[1:]), ones_left_out=True)

    def run(
        self,
        feeds: Mapping[str, np.ndarray | TensorProto],
        fetches: Sequence[str],
        *,
        timeout_s: float | None = None,
    ) -> list[np.ndarray]:
        """Computes `fetches`, with the arguments, results and errors of `SavedModelSession.run`."""
        arrays = {}
        for name, value in feeds.items():
            detail, array = _detail(self._inputs, name), _array(value)
            left_out = len(detail["shape"]) - array.ndim
            arrays[detail["index"]] = array.reshape(*array.shape, *[1] * left_out)
        outputs = [_detail(self._outputs, name)["index"] for name in fetches]
        with self._interpreter(timeout_s) as interpreter:
            for index, array in arrays.items():
                interpreter.resize_tensor_input(index, array.shape)
            interpreter.allocate_tensors()
            for index, array in arrays.items():
                interpreter.set_tensor(index, array)
            interpreter.invoke()
            return [interpreter.get_tensor(index) for index in outputs]

    def close(self) -> None:
        """Frees the interpreters."""
        self._free = queue.Queue()

    @contextlib.contextmanager
    def _interpreter(self, timeout_s: float | None) -> Iterator:
        try:
            interpreter = self._free.get(timeout=timeout_s)
        except queue.Empty:
            raise TensorFlowError(Code.DEADLINE_EXCEEDED, "No interpreter became free.") from None
        broken = True
        try:
            yield interpreter
            broken = False
        except (ValueError, RuntimeError, TypeError) as error:
            raise TensorFlowError(Code.INVALID_ARGUMENT, str(error)) from error
        finally:
            # After a failure, an interpreter may be half resized, and would make the next request
            # fail, too.
            self._free.put(self._new() if broken else interpreter)

    def _details(self) -> tuple[dict, dict]:
        interpreter = self._free.get()
        self._free.put(interpreter)
        return tuple(
            {detail["name"]: detail for detail in details}
            for details in (interpreter.get_input_details(), interpreter.get_output_details())
        )

    def _signatures(self, content: bytes) -> dict[str, SignatureDef]:
        found = _stored_signatures(content)
        if found:
            return found
        signature = SignatureDef(method_name=PREDICT_METHOD)
        for tensors, details in (
            (signature.inputs, self._inputs),
            (signature.outputs, self._outputs),
        ):
            for name, detail in details.items():
                info = tensors[name]
                info.name = name
                info.dtype = _data_type(detail)
                for size in detail["shape"]:
                    info.tensor_shape.dim.add(size=int(size))
        return {SERVING_DEFAULT: signature}


def _array(value: np.ndarray | TensorProto) -> np.ndarray:
    if not isinstance(value, TensorProto):
        return value
    try:
        return tf.make_ndarray(value)
    except (TypeError, ValueError) as error:
        raise TensorFlowError(Code.INVALID_ARGUMENT, f"tensor parsing error: {error}") from error


def _detail(details: Mapping[str, Mapping], name: str) -> Mapping:
    # Early converters omitted the ":0" of TensorFlow's names.
    found = details.get(name) or details.get(name.partition(":")[0])
    if found is None:
        raise TensorFlowError(Code.INTERNAL, f"Unknown tensor '{name}'.")
    return found


def _data_type(detail: Mapping) -> int:
    return tf.dtypes.as_dtype(detail["dtype"]).as_datatype_enum


def _stored_signatures(content: bytes) -> dict[str, SignatureDef]:
    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers import flexbuffers

    model = schema.Model.GetRootAs(content)
    for n in range(model.MetadataLength()):
        metadata = model.Metadata(n)
        if metadata.Name() != _SIGNATURES:
            continue
        stored = model.Buffers(metadata.Buffer()).DataAsNumpy().tobytes()
        try:
            entries = flexbuffers.GetRoot(stored).AsMap
            return {
                entries.Keys[k].AsKey: SignatureDef.FromString(
                    bytes(entries.Values[k].AsStringBytes)
                )
                for k in range(len(entries))
            }
        except (DecodeError, ValueError, TypeError) as error:
            raise TensorFlowError(
                Code.INVALID_ARGUMENT, f"{FILE}: its signatures cannot be read: {error}"
            ) from error
    return {}
