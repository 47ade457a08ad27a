"""A server for the tests: the stand-in in this process, or the one that TFS_TARGET names.

TFS_TARGET=host:port is the gRPC address of a running server, TFS_REST_TARGET its REST address
(unless given, the next port), and TFS_MODELS a folder that this machine and the server see under
the same path: models for the tests are written there, and the server is told by
HandleReloadConfigRequest to serve them.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_status_pb2,
    input_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tests.support.serving.serving_models import copy_version, save_half
from tests.support.session import until_the_end

MODEL = "half"
VERSION = 3  # of the shared target's only version
POLL = 0.05  # seconds between two looks of a server at its folders
_REPOSITORY = Path(__file__).resolve().parents[3]
_CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
]


@dataclasses.dataclass(frozen=True)
class Target:
    """A running server, with stubs for it.

    Attributes:
      grpc: its address for gRPC, host:port.
      rest: its address for REST, host:port; None if it has none.
    """

    grpc: str
    rest: str | None = None

    @functools.cached_property
    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.grpc, _CHANNEL_OPTIONS)

    @functools.cached_property
    def predictions(self) -> prediction_service_pb2_grpc.PredictionServiceStub:
        return prediction_service_pb2_grpc.PredictionServiceStub(self.channel)

    @functools.cached_property
    def models(self) -> model_service_pb2_grpc.ModelServiceStub:
        return model_service_pb2_grpc.ModelServiceStub(self.channel)

    def predict(
        self, inputs: dict, signature: str = "", timeout: float = 20, **spec
    ) -> predict_pb2.PredictResponse:
        """Asks Predict; `spec` are fields of the request's ModelSpec."""
        return self.predictions.Predict(predict_request(inputs, signature, **spec), timeout)

    def states(self, model: str = MODEL) -> dict[int, int]:
        """The state of each version of a model."""
        return {s.version: s.state for s in self.statuses(model)}

    def statuses(self, model: str = MODEL) -> list:
        """What GetModelStatus says of each version of a model."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        return list(self.models.GetModelStatus(request, 20).model_version_status)


def predict_request(inputs: dict, signature: str = "", **spec) -> predict_pb2.PredictRequest:
    """A PredictRequest; inputs are arrays or TensorProtos, `version=3` and `version_label` work."""
    request = predict_pb2.PredictRequest()
    fill_spec(request.model_spec, signature, **spec)
    for alias, value in inputs.items():
        proto = value if isinstance(value, TensorProto) else None
        request.inputs[alias].CopyFrom(proto or tf.make_tensor_proto(value))
    return request


def fill_spec(spec, signature: str = "", *, name: str = MODEL, version=None, version_label=None):
    """Writes a ModelSpec."""
    spec.name, spec.signature_name = name, signature
    if version is not None:
        spec.version.value = version
    if version_label is not None:
        spec.version_label = version_label


def examples(*values: float, context: float | None = None) -> input_pb2.Input:
    """One tf.Example a value, in the feature `x`; with a context that gives `x` to all."""
    result = input_pb2.Input()
    chosen = result.example_list
    if context is not None:
        chosen = result.example_list_with_context
        chosen.context.features.feature["x"].float_list.value.append(context)
    for value in values:
        example = chosen.examples.add()
        if value is not None:
            example.features.feature["x"].float_list.value.append(value)
    return result


def classify_request(signature="classify", source=None, **spec):
    """A ClassificationRequest."""
    request = classification_pb2.ClassificationRequest(input=source or examples(1.0, 2.0))
    fill_spec(request.model_spec, signature, **spec)
    return request


def regress_request(signature="regress", source=None, **spec):
    """A RegressionRequest."""
    request = regression_pb2.RegressionRequest(input=source or examples(1.0, 2.0))
    fill_spec(request.model_spec, signature, **spec)
    return request


def reload_request(**base_paths: str | os.PathLike) -> model_management_pb2.ReloadConfigRequest:
    """A ReloadConfigRequest for models by their names."""
    request = model_management_pb2.ReloadConfigRequest()
    for name, path in base_paths.items():
        request.config.model_config_list.config.add(
            name=name, base_path=str(path), model_platform="tensorflow"
        )
    return request


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@functools.cache
def shared_model() -> Path:
    """The base path of a model whose only version is `VERSION`, for tests that do not change it."""
    folder = os.environ.get("TFS_MODELS") or tempfile.mkdtemp(prefix="serving-tests-")
    base = Path(folder) / MODEL
    shutil.rmtree(base, ignore_errors=True)
    atexit.register(shutil.rmtree, base if "TFS_MODELS" in os.environ else folder, True)
    save_half(base / str(VERSION))
    return base


def base_with_one_version(folder: Path) -> Path:
    """A new base path of a model, in `folder`, with version 1."""
    copy_version(shared_model() / str(VERSION), folder / "base" / "1")
    return folder / "base"


@functools.cache
def shared_target() -> Target:
    """The one server of all tests that only ask: `MODEL` in its version `VERSION`."""
    address = os.environ.get("TFS_TARGET")
    if not address:
        one = running(model_base_path=str(shared_model()), model_name=MODEL)
        return until_the_end.enter_context(one)
    host, _, port = address.rpartition(":")
    target = Target(address, os.environ.get("TFS_REST_TARGET", f"{host}:{int(port) + 1}"))
    if "TFS_MODELS" not in os.environ:
        raise ValueError("With TFS_TARGET set TFS_MODELS to a folder that the server sees, too.")
    target.models.HandleReloadConfigRequest(reload_request(**{MODEL: shared_model()}), 60)
    return target


@contextlib.contextmanager
def running(**options) -> Iterator[Target]:
    """The stand-in with these `Options`, in this process, on free ports."""
    from serving.server.options import Options
    from serving.server.server import Server

    ports = {"port": free_port(), "rest_api_port": free_port()} | options
    server = Server(Options(**ports))
    try:
        server.start()
        target = Target(*(f"127.0.0.1:{ports[name]}" for name in ("port", "rest_api_port")))
        with contextlib.closing(target.channel):
            yield target
    finally:
        server.stop()


def serve(base: str | os.PathLike | None = None, **options):
    """`running` with the model `MODEL` in this folder, or the shared one."""
    return running(model_base_path=str(base or shared_model()), model_name=MODEL, **options)


def serve_watched(base: str | os.PathLike, **options):
    """`serve`, looking for changes every `POLL` seconds; what does not load is not tried again."""
    options = {"max_num_load_retries": 0, "file_system_poll_wait_seconds": POLL} | options
    return serve(base, **options)


def refusal(call, *arguments, **keywords) -> tuple[grpc.StatusCode, str]:
    """Code and message of the error that a call ends in; fails if it does not."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **keywords)
    return caught.value.code(), caught.value.details()


def at_once(calls) -> list:
    """Results of calls made at the same time; an RpcError counts as a result."""
    results = [None] * len(calls)

    def work(n):
        try:
            results[n] = calls[n]()
        except grpc.RpcError as error:
            results[n] = error

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@dataclasses.dataclass(frozen=True)
class Process:
    """The stand-in in a process of its own.

    Attributes:
      target: where it listens.
      popen: the process.
      log: the file of what it prints.
    """

    target: Target
    popen: subprocess.Popen
    log: Path

    def terminate(self, seconds: float = 60) -> int:
        """Sends SIGTERM and waits; returns the exit code."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(seconds)


@contextlib.contextmanager
def process(folder: Path, *flags: str, wait: bool = True) -> Iterator[Process]:
    """`python -m serving.server` with these flags, on free ports.

    Args:
      folder: for its log.
      flags: beside the ports.
      wait: until it answers, or ends.
    """
    ports = free_port(), free_port()
    log = Path(folder) / "server.log"
    command = [sys.executable, "-m", "serving.server"]
    command += [f"--port={ports[0]}", f"--rest_api_port={ports[1]}", *flags]
    with log.open("wb") as output:
        popen = subprocess.Popen(command, cwd=_REPOSITORY, stdout=output, stderr=output)
    found = Process(Target(*(f"127.0.0.1:{port}" for port in ports)), popen, log)
    try:
        while wait and popen.poll() is None and not _listens(ports[0]):
            time.sleep(0.05)
        yield found
    finally:
        popen.kill()
        popen.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def eventually(condition, seconds: float = 20):
    """The first true value of `condition()`; fails if there is none within `seconds`."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return found


def values(response: predict_pb2.PredictResponse, alias: str = "y") -> np.ndarray:
    """An output of a response."""
    return tf.make_ndarray(response.outputs[alias])
