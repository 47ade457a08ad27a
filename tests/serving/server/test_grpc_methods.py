"""gRPC, which model is meant, and all methods except Predict, asked by the official stubs.

Each row of the protocol is a statement here. The tests ask the server that TFS_TARGET names, if it
is set, and the stand-in otherwise.
"""

import numpy as np
import pytest
import tensorflow as tf
from grpc import StatusCode
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
)

from tests.support.serving import serving_cases
from tests.support.serving.serving_cases import (
    MODEL,
    VERSION,
    classify_request,
    examples,
    fill_spec,
    predict_request,
    regress_request,
)
from tests.support.serving.serving_models import CLASSIFY, REGRESS

X = {"x": np.float32([2, 4])}


@pytest.fixture(scope="module")
def target():
    return serving_cases.shared_target()


def refusal(call, *arguments):
    """Code and message of the error that a call ends in."""
    return serving_cases.refusal(call, *arguments, timeout=20)


# Which model


def calls(target):
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    multi = inference_pb2.MultiInferenceRequest(input=examples(1.0))
    multi.tasks.add(method_name=CLASSIFY)
    stub = target.predictions
    return {
        "Predict": (stub.Predict, predict_request(X), lambda r: r.model_spec),
        "Classify": (stub.Classify, classify_request(), lambda r: r.model_spec),
        "Regress": (stub.Regress, regress_request(), lambda r: r.model_spec),
        "MultiInference": (stub.MultiInference, multi, lambda r: r.tasks[0].model_spec),
        "GetModelMetadata": (stub.GetModelMetadata, metadata, lambda r: r.model_spec),
    }


METHODS = ["Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"]


@pytest.mark.parametrize("method", METHODS)
def test_an_unknown_model_version_or_label_is_named(target, method):
    call, request, spec = calls(target)[method]
    signature = spec(request).signature_name
    fill_spec(spec(request), signature, name="m")
    assert refusal(call, request) == (
        StatusCode.NOT_FOUND,
        "Servable not found for request: Latest(m)",
    )
    fill_spec(spec(request), signature, version=9)
    assert refusal(call, request) == (
        StatusCode.NOT_FOUND,
        f"Servable not found for request: Specific({MODEL}, 9)",
    )
    fill_spec(spec(request), signature, version_label="stable")
    assert refusal(call, request) == (
        StatusCode.INVALID_ARGUMENT,
        "Unrecognized servable version label: stable",
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_request_without_a_model_is_an_invalid_argument(target, method):
    call, request, spec = calls(target)[method]
    fill_spec(spec(request), name="")
    assert refusal(call, request) == (
        StatusCode.INVALID_ARGUMENT,
        "ModelSpec has no name specified.",
    )
    if method != "MultiInference":
        request.ClearField("model_spec")
        assert refusal(call, request) == (StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")


@pytest.mark.parametrize(
    "name", ["../half", "/etc/passwd", "half/3", "half\x00", "%2e%2e", "ä" * 999]
)
def test_no_model_name_is_a_path(target, name):
    assert refusal(target.predictions.Predict, predict_request(X, name=name))[0] == (
        StatusCode.NOT_FOUND
    )


# Classify, Regress, MultiInference


def test_classify_gives_labels_and_scores(target):
    response = target.predictions.Classify(classify_request(), 20)
    found = [[(c.label, c.score) for c in one.classes] for one in response.result.classifications]
    assert found == [[("low", 2.5), ("high", 3.5)], [("low", 3.0), ("high", 4.0)]]
    assert response.model_spec.version.value == VERSION
    assert response.model_spec.signature_name == "classify"


def test_regress_gives_a_value_for_each_example(target):
    response = target.predictions.Regress(regress_request(), 20)
    assert [one.value for one in response.result.regressions] == [2.5, 3.0]
    assert response.model_spec.version.value == VERSION


def test_a_context_counts_for_all_examples_that_do_not_say_otherwise(target):
    source = examples(None, 2.0, context=8.0)
    response = target.predictions.Regress(regress_request(source=source), 20)
    assert [one.value for one in response.result.regressions] == [6.0, 3.0]


def test_no_examples_are_an_invalid_argument(target):
    request = classify_request()
    request.ClearField("input")
    assert refusal(target.predictions.Classify, request) == (
        StatusCode.INVALID_ARGUMENT,
        "Input is empty.",
    )


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("none", "No signature was found with the name: none"),
        ("pair", "Expected one input Tensor."),
        ("", "No classification inputs found in SignatureDef:"),
        ("regress", "Expected classification signature outputs to contain at least one of"),
    ],
)
def test_classify_wants_inputs_and_classes_or_scores(target, signature, message):
    code, found = refusal(target.predictions.Classify, classify_request(signature))
    assert code == StatusCode.INVALID_ARGUMENT
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("none", "No signature was found with the name: none"),
        ("pair", "Expected one input Tensor."),
        ("", "No regression inputs found in SignatureDef:"),
        ("classify", "Expected one output Tensor."),
    ],
)
def test_regress_wants_inputs_and_outputs(target, signature, message):
    code, found = refusal(target.predictions.Regress, regress_request(signature))
    assert code == StatusCode.INVALID_ARGUMENT
    assert found.startswith(message)


def multi_request(*tasks):
    request = inference_pb2.MultiInferenceRequest(input=examples(1.0, 2.0))
    for signature, method, name in tasks:
        fill_spec(request.tasks.add(method_name=method).model_spec, signature, name=name)
    return request


def test_multi_inference_answers_several_tasks_about_the_same_examples(target):
    request = multi_request(("classify", CLASSIFY, MODEL), ("regress", REGRESS, MODEL))
    classified, regressed = target.predictions.MultiInference(request, 20).results
    assert [one.classes[1].score for one in classified.classification_result.classifications] == [
        3.5,
        4.0,
    ]
    assert [one.value for one in regressed.regression_result.regressions] == [2.5, 3.0]
    assert {classified.model_spec.signature_name, regressed.model_spec.signature_name} == {
        "classify",
        "regress",
    }
    assert classified.model_spec.version.value == VERSION


@pytest.mark.parametrize(
    ("tasks", "code", "message"),
    [
        (
            [("classify", CLASSIFY, MODEL), ("classify", CLASSIFY, MODEL)],
            StatusCode.INVALID_ARGUMENT,
            "Duplicate evaluation of signature: classify",
        ),
        (
            [("classify", CLASSIFY, MODEL), ("regress", REGRESS, "other")],
            StatusCode.INVALID_ARGUMENT,
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            [("none", CLASSIFY, MODEL)],
            StatusCode.INVALID_ARGUMENT,
            "Requested signature not found in model graph: none",
        ),
        (
            [("classify", "tensorflow/serving/predict", MODEL)],
            StatusCode.UNIMPLEMENTED,
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
    ],
)
def test_multi_inference_refuses_tasks_that_do_not_fit(target, tasks, code, message):
    found = refusal(target.predictions.MultiInference, multi_request(*tasks))
    assert found == (code, message)


# Metadata and status


def test_metadata_are_the_signatures(target):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    fill_spec(request.model_spec)
    response = target.predictions.GetModelMetadata(request, 20)
    found = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(found)
    assert found.signature_def["pair"].inputs["a"].dtype == tf.float32
    assert found.signature_def["classify"].method_name == CLASSIFY
    assert (response.model_spec.name, response.model_spec.version.value) == (MODEL, VERSION)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["graph"], "Metadata field graph is not supported"),
    ],
)
def test_the_only_metadata_are_the_signatures(target, fields, message):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    fill_spec(request.model_spec)
    assert refusal(target.predictions.GetModelMetadata, request) == (
        StatusCode.INVALID_ARGUMENT,
        message,
    )


@pytest.mark.parametrize("version", [None, VERSION])
def test_the_status_of_a_served_version_is_available(target, version):
    request = get_model_status_pb2.GetModelStatusRequest()
    fill_spec(request.model_spec, version=version)
    (status,) = target.models.GetModelStatus(request, 20).model_version_status
    assert (status.version, status.state) == (VERSION, status.AVAILABLE)
    assert (status.status.error_code, status.status.error_message) == (0, "")


def test_the_status_of_what_there_is_not_is_not_found(target):
    request = get_model_status_pb2.GetModelStatusRequest()
    assert refusal(target.models.GetModelStatus, request) == (
        StatusCode.INVALID_ARGUMENT,
        "Missing ModelSpec",
    )
    fill_spec(request.model_spec, name="m")
    assert refusal(target.models.GetModelStatus, request) == (
        StatusCode.NOT_FOUND,
        "Could not find any versions of model m",
    )
    fill_spec(request.model_spec, version=9)
    assert refusal(target.models.GetModelStatus, request) == (
        StatusCode.NOT_FOUND,
        f"Could not find version 9 of model {MODEL}",
    )
