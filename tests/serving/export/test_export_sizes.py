"""Networks for every size as served versions: pictures keep their shape, or the size is fixed."""

import numpy as np
import pytest
import tensorflow as tf

import levit_tf
from levit_lite.images import load_image
from serving.export.exporting import export
from serving.export.kept_shapes import keep_shape, kept_size
from serving.signatures import CLASSIFY, IMAGE_TENSOR, SERVING_DEFAULT
from serving.tensorflow_c.c_api import SavedModelSession, TensorFlowError
from tests.support.serving.export_serving import CLASS_NAMES, SIZE, ask, small_model
from tests.support.serving.served_pictures import jpeg

LIMIT, STRIDE = 128, 16
# Sides as sent, and as the network is shown them.
SIZES = {(300, 200): (128, 80), (90, 240): (48, 128), (40, 44): (48, 48), (5, 400): (16, 128)}


@pytest.mark.parametrize(("sent", "kept"), SIZES.items(), ids=str)
def test_a_picture_keeps_its_shape_up_to_the_limit(sent, kept):
    assert kept_size(*sent, LIMIT, STRIDE) == kept
    in_graph = kept_size(*(tf.constant(side) for side in sent), LIMIT, STRIDE)
    assert tuple(side.numpy() for side in in_graph) == kept


@pytest.fixture(scope="module")
def model():
    return levit_tf.with_input_size(small_model(), None)


@pytest.fixture(scope="module")
def kept(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept") / "models"
    return export(model, "any", folder, class_names=CLASS_NAMES, keep_shape_up_to=LIMIT)


@pytest.fixture(scope="module")
def session(kept):
    with SavedModelSession(kept.path) as session:
        yield session


@pytest.mark.slow
def test_pictures_of_one_request_are_answered_in_their_own_shapes(kept, session, model):
    assert kept.checks.keras < 1e-5
    assert kept.checks.bytes < 1e-6
    pictures = [jpeg(n, size) for n, size in enumerate(SIZES)]
    found = ask(session, SERVING_DEFAULT, pictures)["probabilities"]
    fit = keep_shape(LIMIT, STRIDE)
    for picture, probabilities in zip(pictures, found, strict=True):
        pixels = load_image(picture)
        rows, columns = kept_size(*pixels.shape[:2], LIMIT, STRIDE)
        shown = fit(pixels, (LIMIT, LIMIT))[None, :rows, :columns]
        expected = model(levit_tf.preprocess_input(shown), training=False)[0]
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(72, 60), (64, 144), (0, 64)], ids=str)
def test_other_sizes_of_tensors_are_refused_by_a_message_that_says_which_would_do(session, size):
    expected = "with height and width multiples of 16, at most 128, got the shape"
    with pytest.raises(TensorFlowError, match=expected):
        ask(session, IMAGE_TENSOR, np.zeros((1, *size, 3), np.float32))
    assert ask(session, IMAGE_TENSOR, np.zeros((2, 64, 128, 3), np.float32))["scores"].shape[0] == 2


@pytest.mark.slow
def test_without_the_flag_it_is_served_for_the_size_that_it_was_trained_at(model, tmp_path):
    done = export(levit_tf.fuse(model), "fixed", tmp_path / "models", class_names=CLASS_NAMES)
    with SavedModelSession(done.path) as session:
        images = session.signature_defs[IMAGE_TENSOR].inputs["images"]
        assert [dim.size for dim in images.tensor_shape.dim] == [-1, *SIZE, 3]
        assert CLASSIFY in session.signature_defs


def test_the_limit_is_checked(model, tmp_path):
    with pytest.raises(ValueError, match="the nearest that fit are 128 and 144"):
        export(model, "any", tmp_path, keep_shape_up_to=130)
    for options in ({"model": small_model()}, {"model": model, "tflite": True}):
        with pytest.raises(ValueError, match="is for networks of every size"):
            export(name="any", repository=tmp_path, keep_shape_up_to=128, **options)
    assert not list(tmp_path.rglob("saved_model.pb"))
