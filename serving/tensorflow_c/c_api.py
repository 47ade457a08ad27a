"""Loads and runs SavedModels as TensorFlow Serving does, with TensorFlow's C++ session.

Unlike Python's `Session.run`, nothing here compares a feed with the shape declared in the graph:
everything is passed to the kernels, and their errors are returned.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Mapping, Sequence

import numpy as np
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.protobuf.config_pb2 import ConfigProto, RunOptions
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef, SignatureDef

from serving.status_codes import Code
from serving.tensorflow_c.c_library import (
    Output,
    TensorFlowError,
    checked_status,
    library,
    new_buffer,
)
from serving.tensorflow_c.c_tensors import new_tensor, to_numpy

__all__ = ["SavedModelSession", "TensorFlowError"]


class SavedModelSession:
    """A SavedModel in its own session; threads may share it.

    Attributes:
      meta_graph: the loaded MetaGraphDef.
      graph: the address of the TF_Graph.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        tags: Sequence[str] = ("serve",),
        config: ConfigProto | None = None,
    ):
        """Loads the SavedModel: restores its variables and runs its initialisers.

        Args:
          path: the folder with saved_model.pb.
          tags: tags of the MetaGraphDef to load.
          config: configuration of the session, such as its numbers of threads; None for the
            defaults.

        Raises:
          TensorFlowError: the SavedModel cannot be loaded.
        """
        lib = library()
        self.meta_graph = MetaGraphDef()
        self.graph = lib.TF_NewGraph()
        self._session = None
        self._closed = False
        self._outputs: dict[str, Output] = {}
        self._running = 0
        self._changed = threading.Condition()
        options = lib.TF_NewSessionOptions()
        meta_graph = lib.TF_NewBuffer()
        try:
            with checked_status() as status:
                if config is not None:
                    data = config.SerializeToString()
                    lib.TF_SetConfig(options, data, len(data), status)
            names = (ctypes.c_char_p * len(tags))(*(tag.encode() for tag in tags))
            with checked_status() as status:
                self._session = lib.TF_LoadSessionFromSavedModel(
                    options,
                    None,
                    os.fsencode(path),
                    names,
                    len(tags),
                    self.graph,
                    meta_graph,
                    status,
                )
            content = meta_graph.contents
            self.meta_graph.ParseFromString(ctypes.string_at(content.data, content.length))
        except BaseException:
            self.close()
            raise
        finally:
            lib.TF_DeleteBuffer(meta_graph)
            lib.TF_DeleteSessionOptions(options)

    @property
    def signature_defs(self) -> dict[str, SignatureDef]:
        """The signatures by name."""
        return dict(self.meta_graph.signature_def)

    def output(self, name: str) -> Output:
        """Returns the TF_Output of a tensor's name, such as "logits:0".

        Raises:
          TensorFlowError: there is no such tensor.
        """
        found = self._outputs.get(name)
        if found is None:
            operation_name, _, index = name.partition(":")
            lib = library()
            operation = lib.TF_GraphOperationByName(self.graph, operation_name.encode())
            number = int(index) if index.isdecimal() else (0 if index == "" else -1)
            if not operation or not 0 <= number < lib.TF_OperationNumOutputs(operation):
                raise TensorFlowError(Code.INVALID_ARGUMENT, f"The graph has no tensor {name!r}.")
            found = self._outputs[name] = Output(operation, number)
        return found

    def run(
        self,
        feeds: Mapping[str, np.ndarray | TensorProto],
        fetches: Sequence[str],
        *,
        timeout_s: float | None = None,
    ) -> list[np.ndarray]:
        """Computes `fetches`; other Python threads can run in the meantime.

        Args:
          feeds: tensors by their names in the graph ("images:0"); strings as arrays of bytes.
          fetches: names of the tensors to compute.
          timeout_s: time limit in seconds; None for no limit.

        Returns:
          An array per fetch; strings as an object array of bytes.

        Raises:
          TensorFlowError: TensorFlow's error, DEADLINE_EXCEEDED after `timeout_s`; or the session
            is closed.
          TypeError: a feed has a dtype that TensorFlow lacks.
        """
        with self._changed:
            if self._closed:
                raise TensorFlowError(Code.FAILED_PRECONDITION, "The session is closed.")
            self._running += 1
        try:
            if timeout_s is None:
                return self._run(feeds, fetches, None)
            options = RunOptions(timeout_in_ms=max(1, int(timeout_s * 1000)))
            with new_buffer(options.SerializeToString()) as buffer:
                return self._run(feeds, fetches, buffer)
        finally:
            with self._changed:
                self._running -= 1
                if self._closed:
                    self._changed.notify_all()

    def _run(self, feeds, fetches, options) -> list[np.ndarray]:
        lib = library()
        inputs = (Output * len(feeds))(*(self.output(name) for name in feeds))
        values = (ctypes.c_void_p * len(feeds))()
        outputs = (Output * len(fetches))(*(self.output(name) for name in fetches))
        results = (ctypes.c_void_p * len(fetches))()
        try:
            with checked_status() as status:
                for n, value in enumerate(feeds.values()):
                    values[n] = new_tensor(value, status)
                lib.TF_SessionRun(
                    self._session,
                    options,
                    inputs,
                    values,
                    len(feeds),
                    outputs,
                    results,
                    len(fetches),
                    None,
                    0,
                    None,
                    status,
                )
            return [to_numpy(tensor) for tensor in results]
        finally:
            for tensor in (*values, *results):
                if tensor:
                    lib.TF_DeleteTensor(tensor)

    def close(self) -> None:
        """Frees the session and its graph after the last run in progress; may be called again."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._running)
            session, self._session = self._session, None
            graph, self.graph = self.graph, None
        lib = library()
        if session:
            status = lib.TF_NewStatus()
            lib.TF_CloseSession(session, status)
            lib.TF_DeleteSession(session, status)
            lib.TF_DeleteStatus(status)
        if graph:
            lib.TF_DeleteGraph(graph)

    def __enter__(self) -> SavedModelSession:
        return self

    def __exit__(self, *_) -> None:
        self.close()
