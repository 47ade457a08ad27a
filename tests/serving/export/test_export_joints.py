"""A network that finds joints as a served version: places are those of the picture as sent."""

import asyncio
import functools

import numpy as np
import pytest

import levit_tf
from levit_lite.images import load_image
from levit_tf.keypoints.finding import load_finder
from levit_tf.keypoints.network import keypoint_network, logits_of
from levit_tf.keypoints.skeletons import LSP
from serving.client import AsyncClient, Client, RequestError
from serving.client import __main__ as client_command
from serving.export.exporting import export
from serving.export.warmup_requests import BATCH_SIZES
from tests.support.commands import call
from tests.support.randomize import randomize_keras
from tests.support.serving.export_serving import small_model
from tests.support.serving.served_pictures import jpeg
from tests.support.serving.serving_cases import running

pytestmark = pytest.mark.slow

SIZE = (64, 96)
PICTURES = [jpeg(1, (300, 200)), jpeg(2, (90, 240)), jpeg(3, (40, 40)), jpeg(4, (1, 77))]


@functools.cache
def _network():
    backbone = levit_tf.LeViT("LeViTNano", include_top=False, input_shape=(*SIZE, 3))
    model = keypoint_network(backbone, LSP)
    randomize_keras(logits_of(model))
    return model


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return export(_network(), "pose", tmp_path_factory.mktemp("pose") / "models")


@pytest.fixture(scope="module")
def target(exported):
    with running(model_base_path=str(exported.path.parent), model_name="pose") as target:
        yield target


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What the Keras model finds in each picture."""
    path = tmp_path_factory.mktemp("keras") / "joints.keras"
    _network().save(path)
    finder = load_finder(path)
    return [finder.find(load_image(picture)) for picture in PICTURES]


def test_a_version_is_compared_with_keras_and_knows_its_joints(exported):
    assert exported.checks.keras < 1e-5
    assert exported.checks.bytes < 5e-3  # pixels
    assert exported.checks.requests == 3 * len(BATCH_SIZES)
    assert (exported.path / "assets/labels.txt").read_text().split() == list(LSP.joints)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_the_client_gets_joints_in_pixels_of_each_picture(protocol, target, expected):
    server = target.grpc if protocol == "grpc" else f"http://{target.rest}"
    with Client(server, "pose") as client:
        found = client.find_joints(PICTURES)
        pixels = np.random.default_rng(0).uniform(0, 255, (2, *SIZE, 3)).astype(np.float32)
        answer = client.predict({"images": pixels}, signature_name="image_tensor")
    for joints, places in zip(found, expected, strict=True):
        assert tuple(joint.name for joint in joints) == LSP.joints
        np.testing.assert_allclose([joint[1:] for joint in joints], places, atol=0.02)
    by_keras = _network()(levit_tf.preprocess_input(pixels), training=False)["keypoints"]
    np.testing.assert_allclose(answer["keypoints"], by_keras, atol=0.01)
    assert answer["joints"].tolist() == [[name.encode() for name in LSP.joints]] * 2


BOXES = [(10, 20, 250.5, 120), (0, 0, 90, 200), (5.5, 3, 30, 40), (0, 0, 1, 77)]


@pytest.fixture(scope="module")
def expected_in_boxes(tmp_path_factory):
    """What the Keras model finds in crops that are made outside of the graph."""
    path = tmp_path_factory.mktemp("keras") / "joints.keras"
    _network().save(path)
    finder = load_finder(path)
    return [
        finder.find(load_image(picture), (x1, y1, x2 - x1, y2 - y1))
        for picture, (y1, x1, y2, x2) in zip(PICTURES, BOXES, strict=True)
    ]


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_the_client_gets_the_joints_of_boxes(protocol, target, expected_in_boxes):
    server = target.grpc if protocol == "grpc" else f"http://{target.rest}"
    with Client(server, "pose") as client:
        found = client.find_joints(PICTURES, BOXES)
        (alone,) = client.find_joints(PICTURES[1:2], BOXES[1:2])
    for joints, places in zip(found, expected_in_boxes, strict=True):
        assert tuple(joint.name for joint in joints) == LSP.joints
        np.testing.assert_allclose([joint[1:] for joint in joints], places, atol=0.05)
    np.testing.assert_allclose([j[1:] for j in alone], [j[1:] for j in found[1]], atol=1e-3)


def test_the_server_says_which_box_is_none(target):
    with Client(target.grpc, "pose") as client:
        with pytest.raises(RequestError, match=r"box 1 of 2: expected it inside of its picture"):
            client.find_joints(PICTURES[:2], [BOXES[0], (0, 0, 5, 4000)])
        with pytest.raises(RequestError, match=r"box 0 of 1: expected numbers .*nan"):
            client.find_joints(PICTURES[:1], [(0, 0, float("nan"), 5)])
        inputs = {"image_bytes": PICTURES[:2], "boxes": np.float32(BOXES[:1])}
        with pytest.raises(RequestError, match=r"expected one for each picture .*got 1 for 2"):
            client.predict(inputs, signature_name="boxes")
        with pytest.raises(ValueError, match="Received: 1 boxes for 2 pictures"):
            client.find_joints(PICTURES[:2], BOXES[:1])


def test_the_awaited_client_finds_the_same(target, expected):
    async def found():
        async with AsyncClient(target.grpc, "pose") as client:
            return await client.find_joints(PICTURES[:1])

    ((first, *_),) = asyncio.run(found())
    np.testing.assert_allclose(first[1:], expected[0][0], atol=0.02)


def test_the_command_prints_joints(target, tmp_path, capsys):
    (tmp_path / "photo.jpg").write_bytes(PICTURES[0])
    flags = [f"--server={target.grpc}", "--model=pose", "--joints"]
    assert call(client_command, [*flags, tmp_path / "photo.jpg"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("photo.jpg")
    assert [line.split()[0] for line in lines[1:]] == list(LSP.joints)


def test_a_classifier_asked_for_joints_is_an_error_that_names_what_it_returns(target, tmp_path):
    done = export(small_model(), "levit", tmp_path / "models")
    served = {"model_base_path": str(done.path.parent), "model_name": "levit"}
    with (
        running(**served) as other,
        Client(other.grpc, "levit") as client,
        pytest.raises(RequestError, match=r"expected the output keypoints\. Received: cl"),
    ):
        client.find_joints(PICTURES[:1])
    with Client(target.grpc, "pose") as client, pytest.raises(RequestError, match="classes"):
        client.classify(PICTURES[:1])


def test_damaged_weights_are_not_published(tmp_path):
    backbone = levit_tf.LeViT("LeViTNano", include_top=False, input_shape=(*SIZE, 3))
    model = keypoint_network(backbone, LSP)
    model.get_layer("x").bias.assign(np.full(model.get_layer("x").bias.shape, np.nan))
    with pytest.raises(ValueError, match="finds joints elsewhere than Keras, by nan"):
        export(model, "pose", tmp_path / "models")
    assert not list(tmp_path.rglob("saved_model.pb"))


@pytest.mark.parametrize("options", [{"tflite": True}, {"precision": "bfloat16"}], ids=str)
def test_other_forms_of_a_version_are_published_too(options, tmp_path):
    done = export(_network(), "pose", tmp_path / "models", **options)
    assert done.checks.requests >= 1
