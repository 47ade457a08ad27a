"""The text files that TensorFlow Serving is configured by.

tensorflow-serving-api has the message of models.config only, so the others are declared here, field
by field with the numbers of TensorFlow Serving's own.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TypeVar

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message,
    message_factory,
    text_format,
    wrappers_pb2,
)
from tensorflow.core.protobuf.config_pb2 import ConfigProto
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.server.regular_files import check_file

_Message = TypeVar("_Message", bound=message.Message)

_INT64, _STRING, _BOOL = "google.protobuf.Int64Value", "google.protobuf.StringValue", "bool"
_MESSAGES = {
    "BatchingParameters": [
        ("max_batch_size", 1, _INT64),
        ("batch_timeout_micros", 2, _INT64),
        ("max_enqueued_batches", 3, _INT64),
        ("num_batch_threads", 4, _INT64),
        ("thread_pool_name", 5, _STRING),
        ("allowed_batch_sizes", 6, "repeated int64"),
        ("pad_variable_length_inputs", 7, _BOOL),
        ("enable_large_batch_splitting", 8, "google.protobuf.BoolValue"),
        ("max_execution_batch_size", 9, _INT64),
    ],
    "PrometheusConfig": [("enable", 1, _BOOL), ("path", 2, "string")],
    "MonitoringConfig": [("prometheus_config", 1, "tensorflow.serving.PrometheusConfig")],
    "SSLConfig": [
        ("server_key", 1, "string"),
        ("server_cert", 2, "string"),
        ("custom_ca", 3, "string"),
        ("client_verify", 4, _BOOL),
    ],
}
_SCALARS = {
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
}


@functools.cache
def _message_class(name: str) -> type[message.Message]:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="stand_in_config.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    for message_name, fields in _MESSAGES.items():
        declared = file.message_type.add(name=message_name)
        for field_name, number, kind in fields:
            repeated, _, kind = kind.rpartition(" ")
            field = declared.field.add(name=field_name, number=number)
            field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
            else:
                field.type, field.type_name = field.TYPE_MESSAGE, f".{kind}"
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.serving.{name}"))


def _read(path: str, result: _Message) -> _Message:
    check_file(path)
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
      ValueError: it is no ModelServerConfig.
    """
    return _read(path, ModelServerConfig())


def read_session_config(path: str) -> ConfigProto:
    """Reads TensorFlow's ConfigProto; raises like `read_models`."""
    return _read(path, ConfigProto())


def read_batching_parameters(path: str) -> message.Message:
    """Reads BatchingParameters; raises like `read_models`."""
    return _read(path, _message_class("BatchingParameters")())


def read_monitoring_config(path: str) -> message.Message:
    """Reads MonitoringConfig; raises like `read_models`."""
    return _read(path, _message_class("MonitoringConfig")())


def read_ssl_config(path: str) -> message.Message:
    """Reads SSLConfig; raises like `read_models`."""
    return _read(path, _message_class("SSLConfig")())
