"""The core of the stand-in: handles all kinds of requests to the served models."""

from __future__ import annotations

import time
from collections.abc import Callable

from grpc import StatusCode
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

from serving.server.bounds import Bounds
from serving.server.errors import ServingError
from serving.server.metrics import Metrics
from serving.server.models import inference
from serving.server.models.models import Models
from serving.server.models.tensors import int32_values
from serving.server.options import Options
from serving.server.statuses import status_of
from serving.signatures import EXIT, SERVING_DEFAULT


class ServerCore:
    """Implements `serving.server.backend.Backend`.

    Attributes:
      metrics: the metrics of the server.
      bounds: the limits for requests.
    """

    def __init__(self, options: Options):
        """Reads the files given in the options; nothing is loaded yet.

        Raises:
          OSError, ValueError: a file cannot be read or is not valid.
        """
        self.metrics = Metrics()
        self.bounds = Bounds(options, self.metrics)
        self._rules = inference.Rules(
            options.enable_signature_method_name_check,
            options.enable_serialization_as_tensor_content,
            self.bounds,
        )
        self._models = Models(options, self._rules, self.metrics)

    def start(self) -> None:
        """Loads the models, waits for them, and then watches for new versions.

        Raises:
          OSError, ValueError: models.config cannot be read.
          ServingError: models.config is not valid, or a model does not load.
        """
        self._models.start()

    def stop(self) -> None:
        """Unloads all versions, each after its last request."""
        self._models.stop()

    def model_names(self) -> list[str]:
        """Returns the names of the configured models."""
        return self._models.names()

    def signature(self, spec: model_pb2.ModelSpec) -> tuple[model_pb2.ModelSpec, SignatureDef]:
        """Returns the spec with its exact version, and the signature that a request would run."""
        with self._models.serving(spec) as servable:
            name = spec.signature_name or SERVING_DEFAULT
            signature = servable.signatures.get(name)
            if signature is None:
                raise ServingError(
                    StatusCode.INVALID_ARGUMENT,
                    f'Serving signature name: "{name}" not found in signature def',
                )
            exact = model_pb2.ModelSpec(name=spec.name, signature_name=name)
            exact.version.value = servable.version
            return exact, signature.definition

    def predict(
        self,
        request: predict_pb2.PredictRequest,
        timeout_s: float | None = None,
        entrypoint: str = "REST",
    ) -> predict_pb2.PredictResponse:
        """Handles Predict, within `timeout_s` seconds if given; counted for `entrypoint`."""
        response = self._infer("Predict", inference.predict, request, timeout_s, entrypoint)
        if EXIT in response.outputs:
            self.metrics.exits(request.model_spec.name, int32_values(response.outputs[EXIT]))
        return response

    def classify(
        self,
        request: classification_pb2.ClassificationRequest,
        timeout_s: float | None = None,
        entrypoint: str = "REST",
    ) -> classification_pb2.ClassificationResponse:
        """Handles Classify, like `predict`."""
        response = self._infer("Classify", inference.classify, request, timeout_s, entrypoint)
        self.metrics.examples(request.model_spec.name, len(response.result.classifications))
        return response

    def regress(
        self,
        request: regression_pb2.RegressionRequest,
        timeout_s: float | None = None,
        entrypoint: str = "REST",
    ) -> regression_pb2.RegressionResponse:
        """Handles Regress, like `predict`."""
        response = self._infer("Regress", inference.regress, request, timeout_s, entrypoint)
        self.metrics.examples(request.model_spec.name, len(response.result.regressions))
        return response

    def multi_inference(
        self,
        request: inference_pb2.MultiInferenceRequest,
        timeout_s: float | None = None,
        entrypoint: str = "REST",
    ) -> inference_pb2.MultiInferenceResponse:
        """Handles MultiInference, which is not counted, as in TensorFlow Serving."""
        del entrypoint
        spec = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        with _Statuses(), self._models.serving(spec) as servable:
            return inference.multi_inference(servable, request, self._rules, timeout_s)

    def model_metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Handles GetModelMetadata."""
        _require_spec(request)
        if not request.metadata_field:
            raise ServingError(
                StatusCode.INVALID_ARGUMENT,
                "GetModelMetadataRequest must specify at least one metadata_field",
            )
        for field in request.metadata_field:
            if field != "signature_def":
                raise ServingError(
                    StatusCode.INVALID_ARGUMENT, f"Metadata field {field} is not supported"
                )
        with self._models.serving(request.model_spec) as servable:
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            response.model_spec.name = servable.model
            response.model_spec.version.value = servable.version
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for name, signature in servable.signatures.items():
                signatures.signature_def[name].CopyFrom(signature.definition)
            response.metadata["signature_def"].Pack(signatures)
            return response

    def model_status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Handles GetModelStatus."""
        _require_spec(request)
        spec = request.model_spec
        states = self._models.states(spec.name)
        if spec.HasField("version"):
            number = spec.version.value
            if number not in states:
                raise ServingError(
                    StatusCode.NOT_FOUND,
                    f"Could not find version {number} of model {spec.name}",
                )
            states = {number: states[number]}
        if not states:
            raise ServingError(
                StatusCode.NOT_FOUND, f"Could not find any versions of model {spec.name}"
            )
        response = get_model_status_pb2.GetModelStatusResponse()
        for number, (state, error) in states.items():
            status = response.model_version_status.add(version=number, state=int(state))
            status.status.SetInParent()
            if error is not None:
                status.status.error_code = error.code.value[0]
                status.status.error_message = error.message
        return response

    def reload_config(
        self, request: model_management_pb2.ReloadConfigRequest
    ) -> model_management_pb2.ReloadConfigResponse:
        """Handles HandleReloadConfigRequest: the new configuration replaces the old one."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise ServingError(
                StatusCode.INVALID_ARGUMENT,
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
                "ModelConfigList is currently supported",
            )
        self._models.reload(request.config, retry=True)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response

    def _infer(self, api: str, infer: Callable, request, timeout_s, entrypoint):
        started = time.perf_counter()
        model, status = request.model_spec.name, "INTERNAL"
        try:
            with _Statuses():
                _require_spec(request)
                with self._models.serving(request.model_spec) as servable:
                    begun = time.perf_counter()
                    response = infer(servable, request, self._rules, timeout_s)
                    finished = time.perf_counter()
            status = "OK"
            self.metrics.runtime(model, api, finished - begun)
            self.metrics.latency(model, api, entrypoint, finished - started)
            return response
        except ServingError as error:
            status = error.code.name
            raise
        finally:
            # Clients can make up any number of model names, and each would be kept forever.
            self.metrics.request(model if model in self._models else "", status)


def _require_spec(request) -> None:
    if not request.HasField("model_spec"):
        raise ServingError(StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")


class _Statuses:
    """Turns TensorFlow's errors, and unexpected ones, into ServingError.

    No generator of contextlib: from Python 3.12 on, its frame and the error hold each other, and
    with them the contents of the request, until the garbage collector runs.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error: BaseException | None, traceback) -> None:
        if isinstance(error, Exception) and not isinstance(error, ServingError):
            raise status_of(error) from error
