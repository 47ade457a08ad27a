"""Options of the stand-in; every field is the flag of the same name (see flags.py)."""

from __future__ import annotations

import dataclasses
import os

_MOST_CONNECTIONS = 10_000
_OTHER_DESCRIPTORS = 128


def usable_processors() -> int:
    """Returns the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def most_connections(options: Options) -> int:
    """Returns the largest number of connections, for gRPC and REST each.

    By default, both together leave some of the process's file descriptors for files: at the limit,
    neither versions nor connections could be opened.
    """
    if options.max_connections:
        return options.max_connections
    import resource  # exists on UNIX only

    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(min((descriptors - _OTHER_DESCRIPTORS) // 2, _MOST_CONNECTIONS), 8)


@dataclasses.dataclass(frozen=True)
class Options:
    """The options; the defaults are TensorFlow Serving's, except that `host` is loopback."""

    # Addresses and ports.
    host: str = "127.0.0.1"
    port: int = 8500
    grpc_socket_path: str = ""
    rest_api_port: int = 0
    allowed_hosts: str = ""
    cors_allowed_origins: str = ""
    # Models and versions.
    model_config_file: str = ""
    model_config_file_poll_wait_seconds: float = 0
    model_name: str = "default"
    model_base_path: str = ""
    saved_model_tags: str = "serve"
    file_system_poll_wait_seconds: float = 1
    allow_version_labels_for_unavailable_models: bool = False
    num_load_threads: int = 0
    num_unload_threads: int = 0
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 0
    trust_models: bool = False
    # Computation.
    prefer_tflite_model: bool = False
    num_tflite_pools: int = 0
    num_tflite_interpreters_per_pool: int = 1
    enable_batching: bool = False
    batching_parameters_file: str = ""
    tensorflow_session_parallelism: int = 0
    tensorflow_intra_op_parallelism: int = 0
    tensorflow_inter_op_parallelism: int = 0
    tensorflow_session_config_file: str = ""
    mixed_precision: str = ""
    # Requests and responses.
    enable_signature_method_name_check: bool = False
    enable_serialization_as_tensor_content: bool = False
    enable_grpc_healthcheck_service: bool = True
    grpc_max_threads: int = 0  # 0: 4 per processor, or what the batches need
    grpc_max_waiting_requests: int = 256
    grpc_channel_arguments: str = ""
    max_request_bytes: int = 64 * 2**20
    max_bytes_under_way: int = 512 * 2**20
    max_strings_per_request: int = 1024
    max_pixels_per_request: int = 200_000_000
    max_pixels_under_way: int = 200_000_000
    max_jpeg_scans: int = 32
    rest_api_num_threads: int = 0  # 0: as for gRPC
    rest_api_timeout_in_ms: int = 30_000
    monitoring_config_file: str = ""
    ssl_config_file: str = ""
    max_connections: int = 0  # 0: half of the limit of file descriptors
    receive_seconds: float = 30
    drain_seconds: float = 30
