"""A loaded version of a model."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import logging
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.protobuf.config_pb2 import ConfigProto
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo

from serving.server.memory import give_back_memory
from serving.server.models import tflite_session
from serving.server.models.batching import BatchingParameters
from serving.server.models.input_tensors import InputSpec
from serving.server.models.tflite_session import TFLiteSession
from serving.status_codes import Code
from serving.tensorflow_c.c_api import SavedModelSession, TensorFlowError
from serving.tensorflow_c.c_functions import add_batch_function

_OF_PYTHON = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}


@dataclasses.dataclass(frozen=True)
class Signature:
    """A signature, prepared for requests.

    Attributes:
      name: its key in the SavedModel.
      definition: its SignatureDef.
      inputs: from the alias of an input to the name of its tensor.
      outputs: from the alias of an output to the name of its tensor.
      specs: from the alias of an input to its spec.
      batched: from the name of an output tensor to the name of the tensor that batches compute;
        empty if requests are not batched.
    """

    name: str
    definition: SignatureDef
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    specs: Mapping[str, InputSpec] = dataclasses.field(default_factory=dict)
    batched: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Servable:
    """A loaded version, which computes tensors, one request at a time or in batches.

    Attributes:
      model: name of the model.
      version: number of the version.
      signatures: signatures by name.
    """

    def __init__(
        self,
        model: str,
        version: int,
        path: Path,
        *,
        tags: Sequence[str] = ("serve",),
        config: ConfigProto | None = None,
        batching: BatchingParameters | None = None,
        tflite_interpreters: int = 0,
    ):
        """Loads the version.

        Args:
          model: name of the model.
          version: number of the version.
          path: folder of the version.
          tags: tags of the graph in the SavedModel.
          config: configuration of the session.
          batching: batching parameters; None to run each request alone.
          tflite_interpreters: number of interpreters of a model.tflite, which is then used instead
            of the SavedModel, if there is one; 0 to always use the SavedModel.

        Raises:
          TensorFlowError: it cannot be loaded.
          ImportError: LiteRT is not installed.
        """
        self.model = model
        self.version = version
        as_tflite = tflite_interpreters and (path / tflite_session.FILE).exists()
        self._batching = None if as_tflite else batching
        self._users = 0
        self._changed = threading.Condition()
        if as_tflite:
            self._session = TFLiteSession(path, tflite_interpreters)
        else:
            self._session = SavedModelSession(path, tags=tags, config=config)
        self.meta_graph = self._session.meta_graph
        try:
            _check_operations(self.meta_graph.graph_def)
            self.signatures = {
                name: self._prepare(name, definition)
                for name, definition in self._session.signature_defs.items()
            }
        except BaseException:
            self._session.close()
            raise
        self.meta_graph.ClearField("graph_def")  # it may be large, and is no longer needed

    def _prepare(self, name: str, definition: SignatureDef) -> Signature:
        signature = Signature(
            name,
            definition,
            {alias: info.name for alias, info in sorted(definition.inputs.items())},
            {alias: info.name for alias, info in definition.outputs.items()},
            {alias: self._spec(info) for alias, info in definition.inputs.items()},
        )
        if self._batching is None or not signature.inputs or not signature.outputs:
            return signature
        obstacle = _obstacle_to_batches(definition)
        if obstacle:
            logging.warning(
                "%s version %d: requests for signature %r are not batched: %s",
                self.model,
                self.version,
                name,
                obstacle,
            )
            return signature
        tensors = sorted(set(signature.outputs.values()))
        batched = add_batch_function(
            self._session,
            f"batched/{name}",
            list(signature.inputs.values()),
            tensors,
            self._batching.attributes(name),
        )
        return dataclasses.replace(signature, batched=dict(zip(tensors, batched, strict=True)))

    def _spec(self, info: TensorInfo) -> InputSpec:
        if isinstance(self._session, TFLiteSession):
            return self._session.input_spec(info.name)
        spec = InputSpec.of(info)
        # In TensorFlow 1, a signature has the shape of its placeholder, which a session does not
        # enforce: clients of such models send other shapes, and TensorFlow Serving accepts them.
        # TensorFlow 2 saves functions, which have a signature of their own.
        if not self.meta_graph.HasField("object_graph_def"):
            return dataclasses.replace(spec, shape=None)
        return spec

    def run(
        self,
        signature: Signature | None,
        feeds: Mapping[str, np.ndarray | TensorProto],
        fetches: Sequence[str],
        timeout_s: float | None = None,
    ) -> list[np.ndarray]:
        """Computes `fetches`.

        Args:
          signature: signature of the tensors; None for tensors of several signatures, which are not
            batched.
          feeds: input tensors by name.
          fetches: names of the tensors to compute.
          timeout_s: time limit in seconds; None for no limit.

        Raises:
          TensorFlowError: TensorFlow's error.
        """
        if signature is None or not signature.batched:
            return self._session.run(feeds, fetches, timeout_s=timeout_s)
        rows = self._rows(signature, feeds)
        if rows is None:
            return self._session.run(feeds, fetches, timeout_s=timeout_s)
        started = time.monotonic()
        try:
            names = [signature.batched[name] for name in fetches]
            return self._session.run(feeds, names, timeout_s=timeout_s)
        except TensorFlowError as error:
            if error.code != Code.INVALID_ARGUMENT:
                raise
            # One invalid request makes its whole batch fail. Run alone, each gets its own result or
            # error.
            left = None if timeout_s is None else timeout_s - (time.monotonic() - started)
            return self._session.run(feeds, fetches, timeout_s=left)

    def _rows(self, signature: Signature, feeds) -> int | None:
        """Returns the batch size of a request that can be batched; None if it must be run alone."""
        sizes = set()
        for alias, name in signature.inputs.items():
            shape = _shape(feeds[name]) if name in feeds else None
            declared = signature.definition.inputs[alias]
            if (
                shape is None
                or len(shape) != len(declared.tensor_shape.dim)
                or shape[1:] != [dim.size for dim in declared.tensor_shape.dim[1:]]
                or _data_type(feeds[name], declared.dtype) != declared.dtype
            ):
                return None
            sizes.add(shape[0])
        if len(sizes) != 1 or min(sizes) < 1:
            return None
        (size,) = sizes
        if size > self._batching.max_batch_size:
            raise TensorFlowError(
                Code.INVALID_ARGUMENT,
                f"Task size {size} is larger than maximum input batch size "
                f"{self._batching.max_batch_size}",
            )
        return size

    def acquire(self) -> None:
        """Registers a request; the version stays loaded until it calls `release`."""
        with self._changed:
            self._users += 1

    def release(self) -> None:
        """Ends a request registered by `acquire`."""
        with self._changed:
            self._users -= 1
            if not self._users:
                self._changed.notify_all()

    def close(self) -> None:
        """Unloads the version after its last request."""
        with self._changed:
            self._changed.wait_for(lambda: not self._users)
        self._session.close()
        give_back_memory()


def _check_operations(graph: GraphDef) -> None:
    """Refuses operations that TensorFlow Serving lacks, which would fail when they are run."""
    nodes = itertools.chain(graph.node, *(f.node_def for f in graph.library.function))
    found = sorted({node.op for node in nodes} & _OF_PYTHON)
    if found:
        raise TensorFlowError(
            Code.INVALID_ARGUMENT,
            f"The graph has the operation {found[0]}, which calls a function of the Python process "
            f"that made it (tf.numpy_function, tf.py_function). Write it in TensorFlow's own.",
        )


def _obstacle_to_batches(definition: SignatureDef) -> str:
    """Returns the reason why requests for a signature cannot be batched; empty if they can."""
    for kind, tensors in (("input", definition.inputs), ("output", definition.outputs)):
        for alias, info in tensors.items():
            dims = [dim.size for dim in info.tensor_shape.dim]
            if info.tensor_shape.unknown_rank and kind == "output":
                continue
            if not dims or dims[0] != -1:
                return f"{kind} {alias!r} has no batch dimension of any size: shape {dims}."
            if kind == "input" and -1 in dims[1:]:
                return (
                    f"input {alias!r} has a variable shape, {dims}, and tensors of different "
                    f"shapes cannot be put together. Bring them to one shape in the signature."
                )
    return ""


def _shape(value: np.ndarray | TensorProto) -> list[int]:
    if isinstance(value, TensorProto):
        return [dim.size for dim in value.tensor_shape.dim]
    return list(value.shape)


def _data_type(value: np.ndarray | TensorProto, otherwise: int) -> int:
    return value.dtype if isinstance(value, TensorProto) else otherwise
