"""The gRPC server: TensorFlow Serving's two services and the standard health service."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
from absl import logging
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.server import text_files
from serving.server.core import ServerCore
from serving.server.listening import listening_socket
from serving.server.options import Options, most_connections
from serving.server.requests_under_way import RequestsUnderWay
from serving.server.statuses import code_and_message

# gRPC sends error messages as headers, which are limited to 8 KiB.
_MESSAGE_LIMIT = 1024
_LONGEST_DEADLINE_S = 7 * 24 * 3600.0
_SERVICES = ("", "ModelService", "PredictionService")
_SEND_WITHIN_S = 5.0  # time to send the last responses before they are cancelled


class GrpcServer:
    """Handles gRPC requests with a `ServerCore`."""

    def __init__(self, core: ServerCore, options: Options, computing: int):
        """Reads the configuration files; nothing listens before `start`.

        Args:
          core: handles the requests.
          options: options with ports and limits.
          computing: number of requests to compute at a time.

        Raises:
          OSError: the port is taken, or a file cannot be read.
          ValueError: a file or an argument of gRPC is malformed.
        """
        if options.port:
            listening_socket(options.host, options.port, "gRPC", "--port").close()
        self._options = options
        self._credentials = None
        if options.ssl_config_file:
            self._credentials = _credentials(options.ssl_config_file)
        self._drain_seconds = options.drain_seconds
        self._started = False
        # Each request has a thread from the time it is read, and waits in it for its turn: a
        # request that arrives slowly blocks its thread, but nobody else's turn.
        concurrent = computing + options.grpc_max_waiting_requests
        self._requests = RequestsUnderWay(options.receive_seconds, core.bounds)
        self._server = grpc.server(
            ThreadPoolExecutor(concurrent, "grpc"),
            interceptors=[self._requests],
            maximum_concurrent_rpcs=concurrent,
            options=_arguments(options),
        )
        slots = threading.BoundedSemaphore(computing)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            _PredictionService(core, slots), self._server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_ModelService(core), self._server)
        self._health = None
        if options.enable_grpc_healthcheck_service:
            self._health = health.HealthServicer(experimental_non_blocking=True)
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    def _open_ports(self) -> None:
        options, credentials = self._options, self._credentials
        host = f"[{options.host}]" if ":" in options.host else options.host
        addresses = [f"{host}:{options.port}"] if options.port else []
        if options.grpc_socket_path:
            addresses.append(f"unix:{options.grpc_socket_path}")
        for address in addresses:
            try:
                if credentials is None:
                    self._server.add_insecure_port(address)
                else:
                    self._server.add_secure_port(address, credentials)
            except RuntimeError as error:
                raise OSError(
                    f"gRPC cannot listen on {address}: it is in use, or not an address of this "
                    f"machine. Choose another --port, --host or --grpc_socket_path."
                ) from error
            logging.info("Running gRPC ModelServer at %s ...", address)

    def start(self) -> None:
        """Opens the ports and handles requests.

        Raises:
          OSError: a port was taken in the meantime.
        """
        self._open_ports()
        self._started = True
        self._requests.start()
        self._server.start()
        self._tell_health(health_pb2.HealthCheckResponse.SERVING)

    def stop(self) -> None:
        """Refuses new requests and finishes the accepted ones, within the drain time."""
        if not self._started:
            return
        self._tell_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        self._requests.drain(self._drain_seconds)
        self._server.stop(_SEND_WITHIN_S).wait()

    def _tell_health(self, status: int) -> None:
        if self._health is not None:
            for service in _SERVICES:
                self._health.set(service, status)


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, core: ServerCore, slots: threading.Semaphore):
        def computed(method: Callable) -> Callable:
            def handler(request, context):
                remaining = _time_remaining(context)
                started = time.monotonic()
                if not slots.acquire(timeout=remaining):
                    context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline exceeded in queue.")
                try:
                    if not context.is_active():  # the client no longer waits
                        context.abort(grpc.StatusCode.CANCELLED, "The client went away.")
                    if remaining is not None:
                        remaining -= time.monotonic() - started
                    return _answer(context, lambda: method(request, remaining, "GRPC"))
                finally:
                    slots.release()

            return handler

        self.Predict = computed(core.predict)
        self.Classify = computed(core.classify)
        self.Regress = computed(core.regress)
        self.MultiInference = computed(core.multi_inference)
        self._core = core

    def GetModelMetadata(self, request, context):  # noqa: N802, the name in the protocol
        return _answer(context, lambda: self._core.model_metadata(request))


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, core: ServerCore):
        self._core = core

    def GetModelStatus(self, request, context):  # noqa: N802, the name in the protocol
        return _answer(context, lambda: self._core.model_status(request))

    def HandleReloadConfigRequest(self, request, context):  # noqa: N802, the name in the protocol
        return _answer(context, lambda: self._core.reload_config(request))


def _time_remaining(context: grpc.ServicerContext) -> float | None:
    """Returns the seconds until the client's deadline; None without one, reported as centuries."""
    remaining = context.time_remaining()
    return None if remaining is None or remaining > _LONGEST_DEADLINE_S else remaining


def _answer(context: grpc.ServicerContext, call: Callable):
    try:
        return call()
    except Exception as error:
        code, message = code_and_message(error)
    if len(message) > _MESSAGE_LIMIT:
        message = message[:_MESSAGE_LIMIT] + "...TRUNCATED"
    return context.abort(code, message)


def _arguments(options: Options) -> list[tuple[str, int | str]]:
    arguments: dict[str, int | str] = {
        "grpc.max_receive_message_length": options.max_request_bytes,
        "grpc.max_send_message_length": 2**31 - 1,
        "grpc.max_allowed_incoming_connections": most_connections(options),
        "grpc.so_reuseport": 0,  # or a second server on the port would steal half the requests
    }
    for text in filter(None, options.grpc_channel_arguments.split(",")):
        key, separator, value = text.partition("=")
        if not separator:
            raise ValueError(f"--grpc_channel_arguments is key=value,key=value. Received: {text!r}")
        arguments[key] = int(value) if value.lstrip("-").isdecimal() else value
    return list(arguments.items())


def _credentials(path: str) -> grpc.ServerCredentials:
    config = text_files.read_ssl_config(path)
    for name in ("server_key", "server_cert"):
        if "-----BEGIN" not in getattr(config, name):
            raise ValueError(
                f"{path}: {name} must be the content of a PEM file, not a path to one."
            )
    if config.client_verify and not config.custom_ca:
        raise ValueError(f"{path}: client_verify needs custom_ca, whose clients are let in.")
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )
