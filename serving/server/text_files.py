"""Reads the text files that configure TensorFlow Serving.

tensorflow-serving-api has only the message of models.config, so the others are declared here, with
TensorFlow Serving's field numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from google.protobuf import message, text_format
from tensorflow.core.protobuf.config_pb2 import ConfigProto
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from levit_common.regular_files import check_regular
from serving.protobuf_tables import message_classes

_Message = TypeVar("_Message", bound=message.Message)

_MESSAGES = {
    "Int64Value": {"value": (1, "int64")},
    "StringValue": {"value": (1, "string")},
    "BoolValue": {"value": (1, "bool")},
    "BatchingParameters": {
        "max_batch_size": (1, "Int64Value"),
        "batch_timeout_micros": (2, "Int64Value"),
        "max_enqueued_batches": (3, "Int64Value"),
        "num_batch_threads": (4, "Int64Value"),
        "thread_pool_name": (5, "StringValue"),
        "allowed_batch_sizes": (6, "[int64]"),
        "pad_variable_length_inputs": (7, "bool"),
        "enable_large_batch_splitting": (8, "BoolValue"),
        "max_execution_batch_size": (9, "Int64Value"),
    },
    "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
    "MonitoringConfig": {"prometheus_config": (1, "PrometheusConfig")},
    "SSLConfig": {
        "server_key": (1, "string"),
        "server_cert": (2, "string"),
        "custom_ca": (3, "string"),
        "client_verify": (4, "bool"),
    },
}
_CLASSES = message_classes(_MESSAGES, "tensorflow.serving")


def _read(path: str, result: _Message) -> _Message:
    check_regular(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
        return text_format.Parse(text, result)
    except OSError as error:
        raise OSError(f"{path}: cannot be read: {error.strerror}.") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        kind = result.DESCRIPTOR.full_name
        raise ValueError(f"{path}: Error parsing text-format {kind}: {error}") from error


def read_models(path: str) -> ModelServerConfig:
    """Reads models.config.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is not a ModelServerConfig.
    """
    return _read(path, ModelServerConfig())


def read_session_config(path: str) -> ConfigProto:
    """Reads TensorFlow's ConfigProto; raises like `read_models`."""
    return _read(path, ConfigProto())


def read_batching_parameters(path: str) -> message.Message:
    """Reads BatchingParameters; raises like `read_models`."""
    return _read(path, _CLASSES["BatchingParameters"]())


def read_monitoring_config(path: str) -> message.Message:
    """Reads MonitoringConfig; raises like `read_models`."""
    return _read(path, _CLASSES["MonitoringConfig"]())


def read_ssl_config(path: str) -> message.Message:
    """Reads SSLConfig; raises like `read_models`."""
    return _read(path, _CLASSES["SSLConfig"]())
