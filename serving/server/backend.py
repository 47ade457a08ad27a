"""What the gRPC and the REST side of the stand-in ask of its core.

Both protocols speak in TensorFlow Serving's own messages, as there: the REST side only translates
JSON. All methods block and may be called from many threads; all raise `ServingError`, with
DEADLINE_EXCEEDED after `timeout_s` seconds.
"""

from __future__ import annotations

from typing import Protocol

from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)


class Backend(Protocol):
    """The models that are served, and what can be asked of them."""

    def signature(self, spec: model_pb2.ModelSpec) -> tuple[model_pb2.ModelSpec, SignatureDef]:
        """The signature that a request for `spec` would run, and the spec with its exact version.

        A request made from it names that exact version, so that it is answered by the version whose
        signature it was parsed by.
        """

    def predict(
        self, request: predict_pb2.PredictRequest, timeout_s: float | None = None
    ) -> predict_pb2.PredictResponse: ...

    def classify(
        self, request: classification_pb2.ClassificationRequest, timeout_s: float | None = None
    ) -> classification_pb2.ClassificationResponse: ...

    def regress(
        self, request: regression_pb2.RegressionRequest, timeout_s: float | None = None
    ) -> regression_pb2.RegressionResponse: ...

    def multi_inference(
        self, request: inference_pb2.MultiInferenceRequest
    ) -> inference_pb2.MultiInferenceResponse: ...

    def model_metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse: ...

    def model_status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse: ...

    def reload_config(
        self, request: model_management_pb2.ReloadConfigRequest
    ) -> model_management_pb2.ReloadConfigResponse: ...
