"""The client and an exported LeViT on a real server: the stand-in, or the one of TFS_TARGET."""

import asyncio
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from converters.deploy import deploy_graph
from levit_tf.pictures.images import load_images
from serving import signatures
from serving.client import AsyncClient, Client, RequestError
from serving.client import __main__ as command
from serving.client.pictures import BATCH_PICTURES, BATCH_PIXELS
from serving.export.export_graph import serving_signatures, write_saved_model
from serving.export.picture_headers import MAX_REQUEST_PIXELS
from serving.export.warmup_requests import BATCH_SIZES
from tests.support.commands import call
from tests.support.export_cases import CLASSES, make_model
from tests.support.serving.serving_cases import (
    MODEL,
    reload_request,
    running,
    shared_model,
    shared_target,
)

LEVIT = "levit_client_test"
NAMES = [f"name {n}" for n in range(CLASSES)]


def save(model, base):
    """What `serving.export` publishes, without checks and warm-up."""
    found = serving_signatures(
        deploy_graph(model), NAMES, precision="float32", top_k=signatures.TOP_K
    )
    write_saved_model(base / "1", found)


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def target(model, tmp_path_factory):
    if "TFS_TARGET" not in os.environ:
        folder = tmp_path_factory.mktemp("models")
        save(model, folder / LEVIT)
        with running(model_base_path=str(folder / LEVIT), model_name=LEVIT) as target:
            yield target
        return
    target = shared_target()
    folder = Path(os.environ["TFS_MODELS"], "client")
    shutil.rmtree(folder, ignore_errors=True)
    save(model, folder / LEVIT)
    # The configuration is replaced as a whole: the other tests' model stays in it.
    others = {MODEL: shared_model()}
    change = target.models.HandleReloadConfigRequest
    change(reload_request(**others, **{LEVIT: folder / LEVIT}), 60)
    yield target
    change(reload_request(**others), 60)


@pytest.fixture(scope="module")
def pictures():
    """PNG files of different sizes."""
    rng = np.random.default_rng(0)
    found = []
    for size in ((32, 32, 3), (50, 41, 3), (33, 90, 3)):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(file, "PNG")
        found.append(file.getvalue())
    return found


@pytest.mark.slow
def test_all_clients_name_what_keras_names(target, model, pictures):
    images = load_images(pictures, model.input_shape[1:3])
    expected = np.asarray(deploy_graph(model)(images)["probabilities"])
    for server in (target.grpc, f"http://{target.rest}"):
        with Client(server, LEVIT) as client:
            check(client.classify(pictures), expected)
            inputs = {signatures.IMAGES: images}
            found = client.predict(inputs, signature_name=signatures.IMAGE_TENSOR)
            np.testing.assert_allclose(found[signatures.PROBABILITIES], expected, atol=1e-5)
            assert found[signatures.LOGITS].dtype == np.float32
            assert set(client.metadata().signatures) >= set(signatures.OUTPUTS)
            assert [one.state for one in client.model_status()] == ["AVAILABLE"]
        check(asyncio.run(classified(server, pictures)), expected)


async def classified(server, pictures):
    async with AsyncClient(server, LEVIT, version=1) as client:
        return await client.classify(pictures)


def check(found, expected):
    for row, probabilities in zip(found, expected, strict=True):
        best = np.argsort(-probabilities)[: signatures.TOP_K]
        assert [name for name, _ in row] == [NAMES[index] for index in best]
        np.testing.assert_allclose([p for _, p in row], probabilities[best], atol=1e-5)


def test_a_request_is_no_larger_than_the_exports_batches():
    assert BATCH_SIZES[-1] >= BATCH_PICTURES
    assert MAX_REQUEST_PIXELS >= BATCH_PIXELS


@pytest.mark.slow
def test_the_servers_refusals_reach_the_user(target, pictures):
    for server in (target.grpc, f"http://{target.rest}"):
        with Client(server, LEVIT) as client:
            with pytest.raises(RequestError, match="picture 1 of 2") as refused:
                client.classify([pictures[0], b"no picture"])
            assert refused.value.code == "INVALID_ARGUMENT"
            with pytest.raises(RequestError, match="signature"):
                client.predict({"x": [1.0]}, signature_name="missing")
        with Client(server, "missing") as client, pytest.raises(RequestError) as unknown:
            client.classify(pictures)
        assert unknown.value.code == "NOT_FOUND"


@pytest.mark.slow
def test_the_command_prints_what_is_in_a_picture(target, pictures, tmp_path, capsys):
    path = tmp_path / "picture.png"
    path.write_bytes(pictures[0])
    options = [path, f"--model={LEVIT}", "--top=2"]
    assert call(command, [*options, f"--server={target.grpc}"]) == 0
    over_grpc = capsys.readouterr().out
    assert call(command, [*options, f"--server={target.rest}", "--rest"]) == 0
    assert capsys.readouterr().out == over_grpc
    assert over_grpc.count("%") == 2
    assert "name " in over_grpc
