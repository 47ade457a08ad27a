"""What is no classification and no regression is refused in TensorFlow Serving's words."""

import numpy as np
import pytest
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.classification_pb2 import ClassificationResult
from tensorflow_serving.apis.regression_pb2 import RegressionResult

from serving.server.errors import ServingError
from serving.server.models.results import fill_classifications, fill_regressions
from serving.server.models.servable import Signature

COUNT = 2
LABELS = np.array([[b"cat", b"dog"]] * COUNT, object)
SCORES = np.array([[0.75, 0.25]] * COUNT, np.float32)


def signature(*outputs):
    """Tensors are named as their aliases."""
    return Signature("any", SignatureDef(), {}, {alias: alias for alias in outputs})


def test_labels_and_scores_are_written_side_by_side():
    result = ClassificationResult()
    arrays = {"classes": LABELS, "scores": SCORES}
    fill_classifications(result, signature(*arrays), arrays, COUNT)
    found = [[(one.label, one.score) for one in item.classes] for item in result.classifications]
    assert found == [[("cat", 0.75), ("dog", 0.25)]] * COUNT


@pytest.mark.parametrize("alias", ["classes", "scores"])
def test_either_of_them_is_enough(alias):
    result = ClassificationResult()
    arrays = {alias: LABELS if alias == "classes" else SCORES}
    fill_classifications(result, signature(alias), arrays, COUNT)
    first = result.classifications[0].classes[0]
    assert (first.label, first.score) == (("cat", 0.0) if alias == "classes" else ("", 0.75))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"scores": SCORES[0]}, r"Expected Tensor shape: \[batch_size num_classes\] but got \[2\]"),
        ({"scores": SCORES.astype(np.float64)}, "Expected scores Tensor of DT_FLOAT. Got: DT_DOUB"),
        ({"classes": SCORES}, "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
        ({"scores": SCORES[:1]}, "Expected scores output batch size of 2. Got: 1"),
        ({"classes": LABELS, "scores": SCORES[:, :1]}, r"match in dim_size\(1\). Got 2 vs. 1"),
    ],
)
def test_other_tensors_are_no_classification(arrays, message):
    with pytest.raises(ServingError, match=message):
        fill_classifications(ClassificationResult(), signature(*arrays), arrays, COUNT)


@pytest.mark.parametrize("shape", [(COUNT,), (COUNT, 1)])
def test_a_regression_is_a_value_for_each_example(shape):
    result = RegressionResult()
    values = np.reshape(np.float32([1, 2]), shape)
    fill_regressions(result, signature("outputs"), {"outputs": values}, COUNT)
    assert [one.value for one in result.regressions] == [1, 2]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (SCORES, r"either \[batch_size\] or \[batch_size, 1\] but got \[2, 2\]"),
        (SCORES[:1, 0], "did not match output batch size: 2 vs. 1"),
        (np.int32([1, 2]), "Expected output Tensor of DT_FLOAT.  Got: DT_INT32"),
    ],
)
def test_other_tensors_are_no_regression(values, message):
    with pytest.raises(ServingError, match=message):
        fill_regressions(RegressionResult(), signature("outputs"), {"outputs": values}, COUNT)
