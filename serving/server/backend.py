"""The interface through which the gRPC and REST servers of the stand-in call its core.

As in TensorFlow Serving, both protocols use its messages; the REST server only translates JSON. All
methods block and may be called from many threads; all raise `ServingError`, with DEADLINE_EXCEEDED
after `timeout_s` seconds.
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
    """The served models, and the requests to them."""

    def signature(self, spec: model_pb2.ModelSpec) -> tuple[model_pb2.ModelSpec, SignatureDef]:
        """Returns the spec with its exact version, and the signature that a request would run.

        A request made from it should use that exact version, so that the version that runs it is
        the one whose signature it was parsed with.
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
