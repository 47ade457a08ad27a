"""The stand-in's flags: TensorFlow Serving's, by the same names, and a few of its own."""

from __future__ import annotations

import dataclasses

from absl import flags

from levit_common.choices import TRUST_HELP
from serving.server.options import Options

flags.disclaim_key_flags()  # so that --help shows them

_HELP = {
    "host": "Address to listen on, for gRPC and REST. Whoever reaches it may use and reconfigure "
    "the server; 0.0.0.0 is every interface.",
    "port": "TCP port of gRPC; 0: none.",
    "grpc_socket_path": "UNIX socket of gRPC.",
    "rest_api_port": "TCP port of REST and of the web page; 0: none.",
    "allowed_hosts": "Names, with commas between, that REST requests may call this server by, "
    "beside those of loopback; * for any. Without it any name will do where --host is no loopback.",
    "cors_allowed_origins": "Origins, such as https://example.com, with commas between, whose web "
    "pages may use REST; * for any.",
    "model_config_file": "Text file of a ModelServerConfig: the models to serve.",
    "model_config_file_poll_wait_seconds": "Seconds between two looks at --model_config_file; "
    "0: it is read once.",
    "model_name": "Name of the one model to serve without --model_config_file.",
    "model_base_path": "Folder of that model's versions.",
    "saved_model_tags": "Tags of the graph in the SavedModel, with commas between.",
    "file_system_poll_wait_seconds": "Seconds between two looks for new versions; 0: one look.",
    "allow_version_labels_for_unavailable_models": "Let new labels name versions that are not "
    "loaded yet.",
    "num_load_threads": "Versions that are loaded at a time; 0: one.",
    "num_unload_threads": "Versions that are unloaded at a time; 0: one.",
    "max_num_load_retries": "How often a version that did not load is tried again.",
    "trust_models": TRUST_HELP[0].upper() + TRUST_HELP[1:] + ".",
    "load_retry_interval_micros": "Microseconds between two such attempts.",
    "enable_model_warmup": "Run a version's warm-up records before it is served.",
    "num_request_iterations_for_warmup": "How often each of them is run; 0: once.",
    "prefer_tflite_model": "Serve model.tflite where a version has one, instead of its SavedModel; "
    "never batched.",
    "num_tflite_pools": "Pools of interpreters of a TFLite model; 0: one for each processor.",
    "num_tflite_interpreters_per_pool": "Interpreters in each pool.",
    "enable_batching": "Compute requests that arrive together as one batch.",
    "batching_parameters_file": "Text file of BatchingParameters.",
    "tensorflow_session_parallelism": "Threads of a session, both kinds; 0: TensorFlow decides.",
    "tensorflow_intra_op_parallelism": "Threads within an operation; 0: TensorFlow decides.",
    "tensorflow_inter_op_parallelism": "Operations at a time; 0: TensorFlow decides.",
    "tensorflow_session_config_file": "Text file of TensorFlow's ConfigProto.",
    "mixed_precision": "bfloat16: compute what gains by it in bfloat16.",
    "enable_signature_method_name_check": "Refuse signatures whose method is another one.",
    "enable_serialization_as_tensor_content": "Answer Predict by tensor_content.",
    "enable_grpc_healthcheck_service": "Offer grpc.health.v1.Health.",
    "grpc_max_threads": "Requests that are computed at a time over gRPC; 0: 4 for each processor, "
    "with --enable_batching as many as fill the batches.",
    "grpc_max_waiting_requests": "Requests that may wait for that; the next ones are refused as "
    "RESOURCE_EXHAUSTED.",
    "grpc_channel_arguments": "gRPC's own, such as grpc.max_connection_age_ms=2000, with commas "
    "between.",
    "max_request_bytes": "The largest request, gRPC and REST, and the largest tensor of one.",
    "max_bytes_under_way": "Bytes of all requests that are computed or wait, with their tensors; "
    "the next ones are refused as RESOURCE_EXHAUSTED.",
    "max_strings_per_request": "Strings, such as pictures, or examples that a request may hold.",
    "max_pixels_per_request": "Pixels of all pictures of a request, by their headers.",
    "max_pixels_under_way": "Pixels that are decoded at a time; requests wait for their turn.",
    "max_jpeg_scans": "Scans that a JPEG may have.",
    "rest_api_num_threads": "Requests that are computed at a time over REST; 0: as for gRPC.",
    "rest_api_timeout_in_ms": "Milliseconds that a REST request may take.",
    "monitoring_config_file": "Text file of a MonitoringConfig: Prometheus metrics.",
    "ssl_config_file": "Text file of an SSLConfig: TLS for gRPC.",
    "max_connections": "Connections that gRPC and REST each may have; 0: half of what the limit of "
    "file descriptors allows.",
    "receive_seconds": "Seconds that the message of a gRPC request may take to arrive.",
    "drain_seconds": "Seconds that accepted requests have after SIGTERM.",
}
_REAL_SERVER = "use TensorFlow Serving itself"
_NOT_NEEDED = "leave it out; this server has nothing that it would change"
# Flags of TensorFlow Serving's that mean nothing here, and what to do instead.
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
        values[name].boolean = True  # so that it may stand without a value


def options_from_flags(values: flags.FlagValues) -> Options:
    """The options that parsed flags mean.

    Raises:
      ValueError: a flag that cannot work here, with what to do instead; or flags that do not go
        together.
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
