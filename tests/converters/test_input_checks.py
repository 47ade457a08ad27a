"""Graphs that are served refuse tensors of any other shape, in every way they can be run."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)

from serving.signatures import CLASSIFY, IMAGE_TENSOR, LOGITS, SERVING_DEFAULT
from serving.tensorflow_c.c_api import SavedModelSession, TensorFlowError
from tests.support.artefacts import WIDE
from tests.support.cases import slow
from tests.support.export_cases import rgb_images
from tests.support.serving.export_serving import SIZE, ask, shared_export, shared_session

HEIGHT, WIDTH = WIDE
GOOD = (1, HEIGHT, WIDTH, 3)
# Ranks 0 to 6, and each side one too small, one too large, 1 and 0.
SHAPES = [(), (3,), (1, 3), (HEIGHT, WIDTH, 3), (1, *GOOD), (1, 1, *GOOD), (1, 1, 1)] + [
    (*GOOD[:axis], size, *GOOD[axis + 1 :])
    for axis in range(4)
    for size in {0, 1, GOOD[axis] - 1, GOOD[axis] + 1} - {GOOD[axis]}
    if axis or size == 0  # any other size of a batch is one
]


def expected_message(shape, name="images", good=(HEIGHT, WIDTH, 3)):
    wanted = f"(batch, {', '.join(map(str, good))})" if good else "(batch,)"
    kind = " of an empty batch" if _is_empty(shape, good) else ""
    return f"{name}: expected {wanted}, got the shape{kind}] [{' '.join(map(str, shape))}]"


def _is_empty(shape, good):
    return len(shape) == 1 + len(good) and shape[0] == 0 and tuple(shape[1:]) == tuple(good)


@pytest.fixture(scope="module")
def path(artefacts):
    return artefacts["wide_saved_model"]


@pytest.fixture(scope="module")
def session(path):
    with SavedModelSession(path) as session:
        yield session


@pytest.fixture(scope="module")
def signature(path):
    loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures["serving_default"]
    signature.loaded = loaded  # or its functions would be gone
    return signature


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_saved_model_refuses_other_shapes_in_tensorflow_servings_session(session, shape):
    with pytest.raises(TensorFlowError) as caught:
        ask(session, "serving_default", np.zeros(shape, np.float32))
    assert caught.value.code == tf.errors.INVALID_ARGUMENT
    assert expected_message(shape) in caught.value.message


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_saved_model_refuses_other_shapes_in_python(signature, shape):
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        signature(images=tf.zeros(shape))
    assert expected_message(shape) in str(caught.value)


@pytest.mark.slow
def test_an_empty_batch_is_called_empty(session):
    with pytest.raises(TensorFlowError, match=r"got the shape of an empty batch\] \[0 32 48 3\]"):
        ask(session, "serving_default", np.zeros((0, *GOOD[1:]), np.float32))


@pytest.fixture(scope="module")
def frozen(signature):
    return convert_variables_to_constants_v2(signature)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_frozen_graph_refuses_other_shapes(frozen, shape):
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        frozen(tf.zeros(shape))
    assert expected_message(shape) in str(caught.value)


@pytest.mark.slow
def test_any_batch_of_the_right_shape_is_answered(session, signature):
    images = rgb_images(3, (HEIGHT, WIDTH))
    found = ask(session, "serving_default", images)[LOGITS]
    alone = [ask(session, "serving_default", images[n : n + 1])[LOGITS] for n in range(3)]
    np.testing.assert_allclose(found, np.concatenate(alone), atol=1e-4)
    in_python = signature(images=tf.constant(images))[LOGITS]
    np.testing.assert_allclose(found, in_python, atol=1e-4)


@pytest.fixture(scope="module")
def exported():
    return tf.saved_model.load(str(shared_export().path))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(*SIZE, 3), (1, *SIZE, 1), (1, *SIZE[::-1], 3), ()], ids=str)
def test_an_export_refuses_other_shapes_of_pixels(exported, shape):
    with pytest.raises(TensorFlowError) as caught:
        ask(shared_session(), IMAGE_TENSOR, np.zeros(shape, np.float32))
    assert caught.value.code == tf.errors.INVALID_ARGUMENT
    assert expected_message(shape, good=(*SIZE, 3)) in caught.value.message
    with pytest.raises(tf.errors.InvalidArgumentError) as in_python:
        exported.signatures[IMAGE_TENSOR](images=tf.zeros(shape))
    assert expected_message(shape, good=(*SIZE, 3)) in str(in_python.value)


@pytest.mark.parametrize(
    ("signature", "name"), [(SERVING_DEFAULT, "image_bytes"), slow(CLASSIFY, "inputs")]
)
@pytest.mark.parametrize("shape", [(), (1, 1), (2, 0), (0,), (1, 1, 1)], ids=str)
def test_an_export_refuses_other_shapes_of_strings(signature, name, shape):
    with pytest.raises(TensorFlowError) as caught:
        ask(shared_session(), signature, np.full(shape, b"x", object))
    assert caught.value.code == tf.errors.INVALID_ARGUMENT
    assert expected_message(shape, name, ()) in caught.value.message
