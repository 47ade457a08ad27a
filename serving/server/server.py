"""The complete stand-in: the core with its gRPC and REST servers."""

from __future__ import annotations

import sys
import threading

from serving.server import text_files
from serving.server.core import ServerCore
from serving.server.grpc_server import GrpcServer
from serving.server.http_thread import HttpThread
from serving.server.memory import IdleTrim
from serving.server.models.batching import BatchingParameters, read_batching_parameters
from serving.server.options import Options, most_connections, usable_processors
from serving.server.rest.rest import RestOptions, rest_application
from serving.server.rest.rest_origins import Origins, is_loopback, listed

_METRICS_PATH = "/monitoring/prometheus/metrics"
# Requests need the interpreter for short moments only. Waiting 5 ms for it, Python's default, would
# be noticeable while another thread computes.
_SWITCH_INTERVAL_S = 5e-4


class Server:
    """Loads models and serves them, from `start` to `stop`.

    Attributes:
      core: the core, which has the models.
    """

    def __init__(self, options: Options):
        """Reads the configuration and checks that the ports are free.

        Raises:
          OSError, ValueError: a file cannot be read or is malformed; or a port is taken.
          ImportError: LiteRT is preferred and not installed.
        """
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        self.core = ServerCore(options)
        self._ends = []
        self._trim = IdleTrim(
            self.core.bounds.bytes_under_way.times_taken, self.core.metrics.given_back
        )
        computing = options.grpc_max_threads or _requests_at_a_time(options)
        try:
            if options.rest_api_port:
                metrics_path = _metrics_path(options)
                application = rest_application(
                    self.core,
                    self.core.metrics.exposition if metrics_path else None,
                    _rest_options(options, metrics_path, self.core, computing),
                )
                self._ends.append(
                    HttpThread(
                        application,
                        options.host,
                        options.rest_api_port,
                        options.drain_seconds,
                        most_connections(options),
                        self.core.metrics.refused,
                    )
                )
            self._ends.append(GrpcServer(self.core, options, computing))
        except BaseException:
            self.stop()
            raise

    def start(self) -> None:
        """Loads the models, then begins to handle requests.

        Raises:
          ServingError: a model does not load.
          OSError, ValueError: models.config cannot be read, or a port was taken in the meantime.
        """
        self.core.start()
        for end in self._ends:
            end.start()
        self._trim.start()

    def stop(self) -> None:
        """Refuses new requests, finishes the accepted ones, and unloads the models."""
        self._trim.stop()
        threads = [threading.Thread(target=end.stop) for end in self._ends]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.core.stop()


def _requests_at_a_time(options: Options) -> int:
    least = 4 * usable_processors()
    if not options.enable_batching:
        return least
    batching = BatchingParameters()
    if options.batching_parameters_file:
        batching = read_batching_parameters(options.batching_parameters_file)
    # While one batch is computed, the next one is gathered.
    filling = 2 * batching.max_batch_size * batching.num_batch_threads
    return max(least, min(filling, options.grpc_max_waiting_requests))


def _metrics_path(options: Options) -> str | None:
    if not options.monitoring_config_file:
        return None
    config = text_files.read_monitoring_config(options.monitoring_config_file).prometheus_config
    return (config.path or _METRICS_PATH) if config.enable else None


def _rest_options(
    options: Options, metrics_path: str | None, core: ServerCore, computing: int
) -> RestOptions:
    return RestOptions(
        timeout_s=options.rest_api_timeout_in_ms / 1000,
        max_body_bytes=options.max_request_bytes,
        metrics_path=metrics_path,
        threads=options.rest_api_num_threads or computing,
        waiting=options.grpc_max_waiting_requests,
        bytes_under_way=core.bounds.bytes_under_way,
        origins=Origins(
            is_loopback(options.host),
            listed(options.allowed_hosts),
            listed(options.cors_allowed_origins),
            core.metrics.refused,
        ),
        model_names=core.model_names,
    )
