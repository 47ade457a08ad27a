"""The messages of TensorFlow Serving's gRPC API that the client uses, without TensorFlow.

The official classes (tensorflow_serving.apis) import TensorFlow, which would cost a client seconds
and 700 MB before its first request. The protocol consists of the field numbers below, in a table of
what the client uses. tests/serving/client/test_client_messages.py compares the table with the
official classes.

Enumerations are int32 here, which is encoded in the same way.
"""

from __future__ import annotations

from serving.protobuf_tables import message_classes

MESSAGES = {
    "google.protobuf.Int64Value": {"value": (1, "int64")},
    "google.protobuf.Any": {"type_url": (1, "string"), "value": (2, "bytes")},
    "tensorflow.TensorShapeProto.Dim": {"size": (1, "int64"), "name": (2, "string")},
    "tensorflow.TensorShapeProto": {
        "dim": (2, "[tensorflow.TensorShapeProto.Dim]"),
        "unknown_rank": (3, "bool"),
    },
    "tensorflow.TensorProto": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, "tensorflow.TensorShapeProto"),
        "tensor_content": (4, "bytes"),
        "half_val": (13, "[int32]"),
        "float_val": (5, "[float]"),
        "double_val": (6, "[double]"),
        "int_val": (7, "[int32]"),
        "string_val": (8, "[bytes]"),
        "scomplex_val": (9, "[float]"),
        "int64_val": (10, "[int64]"),
        "bool_val": (11, "[bool]"),
        "dcomplex_val": (12, "[double]"),
        "uint32_val": (16, "[uint32]"),
        "uint64_val": (17, "[uint64]"),
    },
    "tensorflow.TensorInfo": {
        "name": (1, "string"),
        "dtype": (2, "int32"),
        "tensor_shape": (3, "tensorflow.TensorShapeProto"),
    },
    "tensorflow.SignatureDef": {
        "inputs": (1, "{tensorflow.TensorInfo}"),
        "outputs": (2, "{tensorflow.TensorInfo}"),
        "method_name": (3, "string"),
    },
    "tensorflow.serving.ModelSpec": {
        "name": (1, "string"),
        "version": (2, "google.protobuf.Int64Value"),
        "version_label": (4, "string"),
        "signature_name": (3, "string"),
    },
    "tensorflow.serving.PredictRequest": {
        "model_spec": (1, "tensorflow.serving.ModelSpec"),
        "inputs": (2, "{tensorflow.TensorProto}"),
        "output_filter": (3, "[string]"),
    },
    "tensorflow.serving.PredictResponse": {
        "outputs": (1, "{tensorflow.TensorProto}"),
        "model_spec": (2, "tensorflow.serving.ModelSpec"),
    },
    "tensorflow.serving.StatusProto": {"error_code": (1, "int32"), "error_message": (2, "string")},
    "tensorflow.serving.ModelVersionStatus": {
        "version": (1, "int64"),
        "state": (2, "int32"),
        "status": (3, "tensorflow.serving.StatusProto"),
    },
    "tensorflow.serving.GetModelStatusRequest": {"model_spec": (1, "tensorflow.serving.ModelSpec")},
    "tensorflow.serving.GetModelStatusResponse": {
        "model_version_status": (1, "[tensorflow.serving.ModelVersionStatus]")
    },
    "tensorflow.serving.SignatureDefMap": {"signature_def": (1, "{tensorflow.SignatureDef}")},
    "tensorflow.serving.GetModelMetadataRequest": {
        "model_spec": (1, "tensorflow.serving.ModelSpec"),
        "metadata_field": (2, "[string]"),
    },
    "tensorflow.serving.GetModelMetadataResponse": {
        "model_spec": (1, "tensorflow.serving.ModelSpec"),
        "metadata": (2, "{google.protobuf.Any}"),
    },
}
# tensorflow.serving.ModelVersionStatus.State
STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}

_CLASSES = message_classes(MESSAGES, "serving_client")
TensorProto = _CLASSES["tensorflow.TensorProto"]
TensorInfo = _CLASSES["tensorflow.TensorInfo"]
ModelSpec = _CLASSES["tensorflow.serving.ModelSpec"]
PredictRequest = _CLASSES["tensorflow.serving.PredictRequest"]
PredictResponse = _CLASSES["tensorflow.serving.PredictResponse"]
GetModelStatusRequest = _CLASSES["tensorflow.serving.GetModelStatusRequest"]
GetModelStatusResponse = _CLASSES["tensorflow.serving.GetModelStatusResponse"]
GetModelMetadataRequest = _CLASSES["tensorflow.serving.GetModelMetadataRequest"]
GetModelMetadataResponse = _CLASSES["tensorflow.serving.GetModelMetadataResponse"]
SignatureDefMap = _CLASSES["tensorflow.serving.SignatureDefMap"]
