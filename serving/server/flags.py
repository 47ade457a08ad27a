"""The flags of the stand-in: those of TensorFlow Serving, with the same names, and a few others."""

from __future__ import annotations

import dataclasses

from absl import flags

from levit_common.choices import TRUST_HELP
from serving.server.options import Options

flags.disclaim_key_flags()  # so that --help shows them

_HELP = {
    "host": "Address to listen on, for gRPC and REST. Anyone who can reach it can use and "
    "reconfigure the server; 0.0.0.0 means every interface.",
    "port": "TCP port for gRPC; 0: none.",
    "grpc_socket_path": "UNIX socket for gRPC.",
    "rest_api_port": "TCP port for REST and the web page; 0: none.",
    "allowed_hosts": "Comma-separated host names by which REST requests may call this server, "
    "beside loopback names; * for any. By default any name is allowed unless --host is loopback.",
    "cors_allowed_origins": "Comma-separated origins, such as https://example.com, whose web "
    "pages may use REST; * for any.",
    "model_config_file": "Text file of a ModelServerConfig: the models to serve.",
    "model_config_file_poll_wait_seconds": "Seconds between reads of --model_config_file; "
    "0: it is read once.",
    "model_name": "Name of the one model to serve without --model_config_file.",
    "model_base_path": "Folder of the versions of --model_name.",
    "saved_model_tags": "Comma-separated tags of the graph in the SavedModel.",
    "file_system_poll_wait_seconds": "Seconds between scans for new versions; 0: one scan.",
    "allow_version_labels_for_unavailable_models": "Let new labels name versions that are not "
    "loaded yet.",
    "num_load_threads": "Versions to load at a time; 0: one.",
    "num_unload_threads": "Versions to unload at a time; 0: one.",
    "max_num_load_retries": "How often to retry loading a version that failed.",
    "trust_models": TRUST_HELP[0].upper() + TRUST_HELP[1:] + ".",
    "load_retry_interval_micros": "Microseconds between two attempts to load a version.",
    "enable_model_warmup": "Run a version's warm-up records before it is served.",
    "num_request_iterations_for_warmup": "How often to run each warm-up record; 0: once.",
    "prefer_tflite_model": "Serve model.tflite where a version has one, instead of its SavedModel; "
    "never batched.",
    "num_tflite_pools": "Pools of interpreters of a TFLite model; 0: one for each processor.",
    "num_tflite_interpreters_per_pool": "Interpreters in each pool of a TFLite model.",
    "enable_batching": "Compute requests that arrive together as one batch.",
    "batching_parameters_file": "Text file of BatchingParameters.",
    "tensorflow_session_parallelism": "Threads of a session, both kinds; 0: TensorFlow decides.",
    "tensorflow_intra_op_parallelism": "Threads within an operation; 0: TensorFlow decides.",
    "tensorflow_inter_op_parallelism": "Operations at a time; 0: TensorFlow decides.",
    "tensorflow_session_config_file": "Text file of TensorFlow's ConfigProto.",
    "mixed_precision": "bfloat16: use bfloat16 where it is faster.",
    "enable_signature_method_name_check": "Refuse signatures of another method.",
    "enable_serialization_as_tensor_content": "Return outputs of Predict as tensor_content.",
    "enable_grpc_healthcheck_service": "Offer grpc.health.v1.Health.",
    "grpc_max_threads": "Requests to compute at a time over gRPC; 0: 4 per processor, "
    "with --enable_batching as many as fill the batches.",
    "grpc_max_waiting_requests": "Requests that may wait for a thread; further ones are refused "
    "as RESOURCE_EXHAUSTED.",
    "grpc_channel_arguments": "Arguments of gRPC, such as grpc.max_connection_age_ms=2000, comma-"
    "separated.",
    "max_request_bytes": "Largest size of a request, gRPC and REST, and of a tensor in it.",
    "max_bytes_under_way": "Largest size of all requests in progress and their tensors, bytes; "
    "further ones are refused as RESOURCE_EXHAUSTED.",
    "max_strings_per_request": "Largest number of strings (pictures) or examples in a request.",
    "max_pixels_per_request": "Largest number of pixels in the pictures of a request and all their "
    "frames, by headers.",
    "max_pixels_under_way": "Largest number of pixels to decode at a time; further requests wait.",
    "max_jpeg_scans": "Largest number of scans of a JPEG.",
    "rest_api_num_threads": "Requests to compute at a time over REST; 0: as for gRPC.",
    "rest_api_timeout_in_ms": "Time limit of a REST request, milliseconds.",
    "monitoring_config_file": "Text file of a MonitoringConfig: Prometheus metrics.",
    "ssl_config_file": "Text file of an SSLConfig: TLS for gRPC.",
    "max_connections": "Largest number of connections, each for gRPC and REST; 0: half of the "
    "limit of file descriptors.",
    "receive_seconds": "Time limit for receiving a gRPC message, seconds.",
    "drain_seconds": "Time limit of accepted requests after SIGTERM, seconds.",
}
_REAL_SERVER = "use TensorFlow Serving itself"
_NOT_NEEDED = "leave it out; this server has nothing that it would change"
# Flags of TensorFlow Serving that have no effect here, and what to do instead.
_NOT_HERE = {
    "enable_per_model_batching_parameters": "give all models --batching_parameters_file",
    "enable_profiler": _REAL_SERVER,
    "flush_filesystem_caches": _NOT_NEEDED,
    "per_process_gpu_memory_fraction": "set gpu_options in --tensorflow_session_config_file",
    "platform_config_file": "set the session by --tensorflow_session_config_file",
    "remove_unused_fields_from_bundle_metagraph": _NOT_NEEDED,
    "rest_api_enable_cors_support": "name the origins that may ask: --cors_allowed_origins",
    "skip_initialize_tpu": _NOT_NEEDED,
    "thread_pool_factory_config_file": "limit threads by --tensorflow_intra_op_parallelism",
    "use_alts_credentials": "use TLS: --ssl_config_file",
    "xla_cpu_compilation_enabled": "export without jit_compile",
    "xla_gpu_compilation_enabled": "export without jit_compile",
}
_DEFINE = {
    "bool": flags.DEFINE_boolean,
    "int": flags.DEFINE_integer,
    "float": flags.DEFINE_float,
    "str": flags.DEFINE_string,
}


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Registers the flags with absl."""
    for field in dataclasses.fields(Options):
        define = _DEFINE[field.type]
        define(field.name, field.default, _HELP[field.name], flag_values=values)
    flags.DEFINE_boolean("version", False, "Print the version and exit.", flag_values=values)
    for name, instead in _NOT_HERE.items():
        flags.DEFINE_string(name, None, f"Not in this stand-in: {instead}.", flag_values=values)
        values[name].boolean = True  # allowed without a value


def options_from_flags(values: flags.FlagValues) -> Options:
    """Makes the options from parsed flags.

    Raises:
      ValueError: a flag is not supported here (the message says what to do instead), or flags
        contradict each other.
    """
    for name, instead in _NOT_HERE.items():
        if values[name].present and str(values[name].value).lower() != "false":
            raise ValueError(f"--{name} is not in this stand-in: {instead}.")
    options = Options(**{f.name: getattr(values, f.name) for f in dataclasses.fields(Options)})
    if not options.port and not options.grpc_socket_path:
        raise ValueError("One of --port and --grpc_socket_path must be set.")
    if options.rest_api_port and options.rest_api_port == options.port:
        raise ValueError(f"--port and --rest_api_port are both {options.port}; set another one.")
    if not options.model_base_path and not options.model_config_file:
        raise ValueError("One of --model_base_path and --model_config_file must be set.")
    if options.batching_parameters_file and not options.enable_batching:
        raise ValueError("--batching_parameters_file means nothing without --enable_batching.")
    if options.mixed_precision not in ("", "bfloat16"):
        raise ValueError(f"--mixed_precision is bfloat16 or nothing: {options.mixed_precision!r}")
    if options.tensorflow_session_parallelism and (
        options.tensorflow_intra_op_parallelism or options.tensorflow_inter_op_parallelism
    ):
        raise ValueError(
            "Set either --tensorflow_session_parallelism, or --tensorflow_intra_op_parallelism "
            "and --tensorflow_inter_op_parallelism."
        )
    for field in dataclasses.fields(Options):
        if field.type in ("int", "float") and getattr(options, field.name) < 0:
            raise ValueError(f"--{field.name} must not be negative: {getattr(options, field.name)}")
    for least, most in (
        (2 * options.max_request_bytes, "max_bytes_under_way"),
        (options.max_pixels_per_request, "max_pixels_under_way"),
    ):
        if getattr(options, most) < least:
            raise ValueError(f"--{most} must be at least {least}, or one request could fill it.")
    if not options.receive_seconds:
        raise ValueError("--receive_seconds must be positive: 0.0")
    if not 0 < options.max_request_bytes < 2**31:
        raise ValueError(
            f"--max_request_bytes must be between 1 and {2**31 - 1}: {options.max_request_bytes}"
        )
    return options
