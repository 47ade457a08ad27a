"""Predict, Classify, Regress and MultiInference on one loaded version.

Requests are refused with the messages of TensorFlow Serving, because clients match on these.
"""

from __future__ import annotations

import dataclasses

from grpc import StatusCode
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.server.bounds import Bounds
from serving.server.errors import ServingError
from serving.server.models.examples import bytes_of, serialized_examples, strings_of_input
from serving.server.models.input_tensors import check_tensor, strings_of
from serving.server.models.results import fill_classifications, fill_regressions
from serving.server.models.servable import Servable, Signature
from serving.server.models.tensors import fill_tensor
from serving.signatures import (
    CLASSIFY_METHOD,
    PREDICT_METHOD,
    REGRESS_METHOD,
    SERVING_DEFAULT,
)


@dataclasses.dataclass(frozen=True)
class Rules:
    """Options of inference, from the server's flags.

    Attributes:
      check_method_name: whether to refuse signatures with the method name of another method.
      tensor_content: whether Predict returns outputs as `tensor_content`, not in the fields by
        dtype.
      bounds: the limits for requests.
    """

    check_method_name: bool
    tensor_content: bool
    bounds: Bounds


def predict(
    servable: Servable,
    request: predict_pb2.PredictRequest,
    rules: Rules,
    timeout_s: float | None = None,
) -> predict_pb2.PredictResponse:
    """Handles Predict; like all functions here, it raises ServingError and TensorFlowError."""
    name = request.model_spec.signature_name or SERVING_DEFAULT
    signature = servable.signatures.get(name)
    if signature is None:
        raise ServingError(
            StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.'
        )
    method = signature.definition.method_name
    if rules.check_method_name and method not in (PREDICT_METHOD, CLASSIFY_METHOD, REGRESS_METHOD):
        raise ServingError(
            StatusCode.INTERNAL,
            f"Expected prediction signature method_name to be one of "
            f"{{{PREDICT_METHOD}, {CLASSIFY_METHOD}, {REGRESS_METHOD}}}. Was: {method}",
        )
    feeds, size = _feeds(signature, request, rules.bounds)
    aliases = _output_aliases(signature, request)
    strings = (s for tensor in request.inputs.values() for s in strings_of(tensor))
    with rules.bounds.admitted(size, strings, timeout_s):
        arrays = servable.run(signature, feeds, [signature.outputs[a] for a in aliases], timeout_s)
    response = predict_pb2.PredictResponse()
    _fill_spec(response.model_spec, request.model_spec, servable)
    for alias, array in zip(aliases, arrays, strict=True):
        fill_tensor(response.outputs[alias], array, rules.tensor_content)
    return response


def _feeds(
    signature: Signature, request: predict_pb2.PredictRequest, bounds: Bounds
) -> tuple[dict, int]:
    """Returns the tensors by their names in the graph, and their size in bytes."""
    given, expected = request.inputs, signature.inputs
    defaults = signature.definition.defaults
    if len(given) > len(expected) or (len(given) < len(expected) and not defaults):
        sent, wanted = set(given), set(expected)
        raise ServingError(
            StatusCode.INVALID_ARGUMENT,
            f"input size does not match signature: {len(given)}!={len(expected)} "
            f"len({_names(sent)}) != len({_names(wanted)}). Sent extra: {_names(sent - wanted)}. "
            f"Missing but required: {_names(wanted - sent)}.",
        )
    unknown = set(given) - set(expected)
    if unknown:
        raise ServingError(
            StatusCode.INVALID_ARGUMENT,
            f"input tensor alias not found in signature: {sorted(unknown)[0]}. Inputs expected to "
            f"be in the set {_names(expected)}.",
        )
    feeds, size = {}, 0
    for alias, name in expected.items():
        if alias in given:
            feeds[name] = given[alias]
            size += check_tensor(alias, given[alias], signature.specs[alias], bounds)
        elif alias in defaults:
            feeds[name] = defaults[alias]
        else:
            raise ServingError(
                StatusCode.INVALID_ARGUMENT,
                f"input tensor alias not found in request: {alias}. Inputs expected to be in the "
                f"set {_names(expected)}.",
            )
    return feeds, size


def _output_aliases(signature: Signature, request: predict_pb2.PredictRequest) -> list[str]:
    aliases = list(request.output_filter)
    for n, alias in enumerate(aliases):
        if alias not in signature.outputs:
            raise ServingError(
                StatusCode.INVALID_ARGUMENT,
                f"output tensor alias not found in signature: {alias} Outputs expected to be in "
                f"the set {_names(signature.outputs)}.",
            )
        if alias in aliases[:n]:
            raise ServingError(
                StatusCode.INVALID_ARGUMENT, f"duplicate output tensor alias: {alias}"
            )
    return aliases or list(signature.outputs)


def classify(
    servable: Servable,
    request: classification_pb2.ClassificationRequest,
    rules: Rules,
    timeout_s: float | None = None,
) -> classification_pb2.ClassificationResponse:
    """Handles Classify."""
    response = classification_pb2.ClassificationResponse()
    signature, arrays, count = _run_method(servable, request, CLASSIFY_METHOD, rules, timeout_s)
    _fill_spec(response.model_spec, request.model_spec, servable)
    fill_classifications(response.result, signature, arrays, count)
    return response


def regress(
    servable: Servable,
    request: regression_pb2.RegressionRequest,
    rules: Rules,
    timeout_s: float | None = None,
) -> regression_pb2.RegressionResponse:
    """Handles Regress."""
    response = regression_pb2.RegressionResponse()
    signature, arrays, count = _run_method(servable, request, REGRESS_METHOD, rules, timeout_s)
    _fill_spec(response.model_spec, request.model_spec, servable)
    fill_regressions(response.result, signature, arrays, count)
    return response


def _run_method(servable, request, method: str, rules: Rules, timeout_s):
    name = request.model_spec.signature_name or SERVING_DEFAULT
    signature = servable.signatures.get(name)
    if signature is None:
        raise ServingError(
            StatusCode.INVALID_ARGUMENT, f"No signature was found with the name: {name}"
        )
    outputs = _method_outputs(signature, method, rules)
    examples = serialized_examples(request.input, rules.bounds)
    feeds = {signature.inputs["inputs"]: examples}
    with rules.bounds.admitted(bytes_of(examples), strings_of_input(request.input), timeout_s):
        arrays = servable.run(signature, feeds, outputs, timeout_s)
    return signature, dict(zip(outputs, arrays, strict=True)), len(examples)


def _method_outputs(signature: Signature, method: str, rules: Rules) -> list[str]:
    """Returns the tensors that Classify or Regress computes; checks the signature."""
    kind, allowed = {
        CLASSIFY_METHOD: ("classification", ("classes", "scores")),
        REGRESS_METHOD: ("regression", ("outputs",)),
    }[method]
    found = signature.definition.method_name
    if rules.check_method_name and found != method:
        raise ServingError(
            StatusCode.INVALID_ARGUMENT,
            f"Expected {kind} signature method_name to be {method}. Was: {found}",
        )
    if len(signature.inputs) != 1:
        raise ServingError(StatusCode.INVALID_ARGUMENT, "Expected one input Tensor.")
    if not 1 <= len(signature.outputs) <= len(allowed):
        raise ServingError(
            StatusCode.INVALID_ARGUMENT,
            "Expected one output Tensor."
            if method == REGRESS_METHOD
            else f"Expected one or two output Tensors, found {len(signature.outputs)}",
        )
    if "inputs" not in signature.inputs:
        raise ServingError(
            StatusCode.INVALID_ARGUMENT,
            f"No {kind} inputs found in SignatureDef: {signature.definition}",
        )
    outputs = [signature.outputs[alias] for alias in allowed if alias in signature.outputs]
    if not outputs:
        raise ServingError(
            StatusCode.INVALID_ARGUMENT,
            f"No regression outputs found in SignatureDef: {signature.definition}"
            if method == REGRESS_METHOD
            else "Expected classification signature outputs to contain at least one of "
            f'"classes" or "scores". Signature was: {signature.definition}',
        )
    return outputs


def multi_inference(
    servable: Servable,
    request: inference_pb2.MultiInferenceRequest,
    rules: Rules,
    timeout_s: float | None = None,
) -> inference_pb2.MultiInferenceResponse:
    """Handles MultiInference: several methods on the same examples, in one run."""
    tasks: dict[str, tuple] = {}
    for task in request.tasks:
        spec = task.model_spec
        if not spec.name:
            raise ServingError(
                StatusCode.INVALID_ARGUMENT, "Found ModelSpec with an empty model name."
            )
        if spec.name != request.tasks[0].model_spec.name:
            raise ServingError(
                StatusCode.INVALID_ARGUMENT,
                "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
            )
        name = spec.signature_name or SERVING_DEFAULT
        if name in tasks:
            raise ServingError(
                StatusCode.INVALID_ARGUMENT, f"Duplicate evaluation of signature: {name}"
            )
        signature = servable.signatures.get(name)
        if signature is None:
            raise ServingError(
                StatusCode.INVALID_ARGUMENT,
                f"Requested signature not found in model graph: {name}",
            )
        if task.method_name not in (CLASSIFY_METHOD, REGRESS_METHOD):
            raise ServingError(
                StatusCode.UNIMPLEMENTED,
                f"Unsupported signature method_name: {task.method_name}",
            )
        tasks[name] = (task, signature, _method_outputs(signature, task.method_name, rules))
    examples = serialized_examples(request.input, rules.bounds)
    feeds = {signature.inputs["inputs"]: examples for _, signature, _ in tasks.values()}
    fetches = sorted({name for _, _, outputs in tasks.values() for name in outputs})
    with rules.bounds.admitted(bytes_of(examples), strings_of_input(request.input), timeout_s):
        arrays = dict(zip(fetches, servable.run(None, feeds, fetches, timeout_s), strict=True))
    response = inference_pb2.MultiInferenceResponse()
    for task, signature, _ in tasks.values():
        result = response.results.add()
        _fill_spec(result.model_spec, task.model_spec, servable)
        if task.method_name == CLASSIFY_METHOD:
            fill_classifications(result.classification_result, signature, arrays, len(examples))
        else:
            fill_regressions(result.regression_result, signature, arrays, len(examples))
    return response


def _fill_spec(spec: model_pb2.ModelSpec, asked: model_pb2.ModelSpec, servable: Servable) -> None:
    spec.name = asked.name
    spec.signature_name = asked.signature_name or SERVING_DEFAULT
    spec.version.value = servable.version


def _names(names) -> str:
    return "{" + ",".join(sorted(names)) + "}"
