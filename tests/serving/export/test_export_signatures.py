"""The signatures of what is exported, and their answers, in TensorFlow Serving's session."""

import numpy as np
import pytest
import tensorflow as tf

from converters.deploy import deploy_graph
from levit_tf.opening.saved_models import check_saved_model
from levit_tf.pictures.images import load_images
from serving.signatures import CLASSIFY, IMAGE_TENSOR, SERVING_DEFAULT
from serving.tensorflow_c.c_api import TensorFlowError
from tests.support.export_cases import relative_error, rgb_images
from tests.support.serving.export_serving import CLASS_NAMES, CLASSES, SIZE, ask, small_model
from tests.support.serving.served_pictures import PICTURES, jpeg, with_exif


@pytest.mark.parametrize(
    ("name", "method", "inputs", "outputs"),
    [
        (
            "serving_default",
            "tensorflow/serving/predict",
            {"image_bytes": (tf.string, [-1])},
            {"classes", "scores", "probabilities"},
        ),
        (
            "image_tensor",
            "tensorflow/serving/predict",
            {"images": (tf.float32, [-1, *SIZE, 3])},
            {"classes", "scores", "probabilities", "logits"},
        ),
        (
            "classify",
            "tensorflow/serving/classify",
            {"inputs": (tf.string, [-1])},
            {"classes", "scores"},
        ),
    ],
)
def test_the_signatures_are_the_documented_ones(session, name, method, inputs, outputs):
    def description(infos):
        return {
            key: (tf.as_dtype(info.dtype), [dim.size for dim in info.tensor_shape.dim])
            for key, info in infos.items()
        }

    signature = session.signature_defs[name]
    widths = {
        "classes": (tf.string, [-1, 5]),
        "scores": (tf.float32, [-1, 5]),
        "probabilities": (tf.float32, [-1, CLASSES]),
        "logits": (tf.float32, [-1, CLASSES]),
    }
    assert signature.method_name == method
    assert description(signature.inputs) == inputs
    assert description(signature.outputs) == {key: widths[key] for key in outputs}


def test_it_holds_nothing_that_is_refused_when_somebody_opens_it(exported):
    check_saved_model(exported.path)


def test_the_weights_are_there_once(exported):
    size = (exported.path / "saved_model.pb").stat().st_size
    weights = 4 * deploy_graph(small_model()).count_params()
    assert weights < size < weights + 700_000


def test_float_pictures_are_answered_as_by_keras(session, exported):
    images = rgb_images(3, SIZE)
    expected = deploy_graph(small_model()).predict(images, verbose=0)
    found = ask(session, IMAGE_TENSOR, images)
    assert relative_error(found["logits"], expected["logits"]) < 2e-6
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-6)
    assert exported.checks.function == 0


def test_the_best_classes_are_named_best_first(session):
    found = ask(session, IMAGE_TENSOR, rgb_images(3, SIZE))
    best = np.argsort(-found["probabilities"], axis=1)[:, :5]
    names = [[CLASS_NAMES[index].encode() for index in row] for row in best]
    assert found["classes"].tolist() == names
    np.testing.assert_array_equal(
        found["scores"], np.take_along_axis(found["probabilities"], best, axis=1)
    )


@pytest.mark.parametrize("kind", PICTURES)
def test_encoded_pictures_are_answered_like_their_pixels(session, kind):
    content = PICTURES[kind]
    found = ask(session, SERVING_DEFAULT, [content])
    expected = ask(session, IMAGE_TENSOR, load_images([content], SIZE))
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-6)


@pytest.mark.parametrize("order", ["MM", "II"])
def test_pictures_are_turned_as_the_camera_was_held(session, order):
    contents = [with_exif(orientation, order) for orientation in range(1, 9)]
    found = ask(session, SERVING_DEFAULT, contents)
    expected = ask(session, IMAGE_TENSOR, load_images(contents, SIZE))
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-6)
    stored = [jpeg(orientation, (110, 171)) for orientation in range(2, 9)]
    unturned = ask(session, SERVING_DEFAULT, stored)["probabilities"]
    assert (np.abs(found["probabilities"][1:] - unturned).max(axis=1) > 1e-5).all()


@pytest.mark.parametrize("cut", [0, 4, 8, 12, 16, 20])
def test_damaged_metadata_do_not_matter(session, cut):
    content = with_exif(6)
    start = content.index(b"Exif\0\0") + 6 + cut
    damaged = content[:start] + b"\xff" * 6 + content[start + 6 :]
    found = ask(session, SERVING_DEFAULT, [damaged])
    expected = ask(session, IMAGE_TENSOR, load_images([damaged], SIZE))
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-6)


def test_a_batch_is_answered_like_its_pictures(session):
    contents = list(PICTURES.values())
    together = ask(session, SERVING_DEFAULT, contents)["probabilities"]
    alone = [ask(session, SERVING_DEFAULT, [content])["probabilities"] for content in contents]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-6)


@pytest.mark.slow
def test_examples_are_answered_like_pictures(session):
    contents = list(PICTURES.values())[:3]
    examples = []
    for content in contents:
        example = tf.train.Example()
        example.features.feature["image/encoded"].bytes_list.value.append(content)
        examples.append(example.SerializeToString())
    found = ask(session, CLASSIFY, examples)
    expected = ask(session, SERVING_DEFAULT, contents)
    assert found["classes"].tolist() == expected["classes"].tolist()
    np.testing.assert_array_equal(found["scores"], expected["scores"])


def test_an_example_without_a_picture_is_refused(session):
    with pytest.raises(TensorFlowError, match="image/encoded"):
        ask(session, CLASSIFY, [tf.train.Example().SerializeToString()])
