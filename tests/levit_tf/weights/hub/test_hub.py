"""`weights="hf://..."` is the repository's network, with its classes, size and normalisation."""

import io
import json
import os
import subprocess
import sys

import huggingface_hub.constants
import keras
import numpy as np
import pytest
import safetensors.numpy

import levit_tf
from converters import from_pytorch
from levit_common.hub_addresses import HubAddress, parse_address
from levit_tf.prediction.predictor import load_predictor
from levit_tf.weights.hub.checkpoints import open_hub_checkpoint
from tests.support.commands import ENVIRONMENT, call
from tests.support.hub_repositories import timm_files, transformers_files
from tests.support.hub_server import COMMIT, TOKEN, serving_hub
from tests.support.randomize import random_images, randomize_keras

CLASSES = ("daisy", "rose", "tulip")
HALVES = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.25, 0.5]}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    made = levit_tf.LeViT("LeViTNano", input_shape=(96, 96, 3), classes=len(CLASSES))
    randomize_keras(made)
    return made


def named(names=CLASSES):
    return {str(n): name for n, name in enumerate(names)}


def logits(model):
    images = random_images(model.input_shape[1:3], 2)
    return model(images, training=False).numpy()


def test_timms_repository_gives_the_same_network(hub, model):
    hub.publish("me/flowers", timm_files(model, label_names=list(CLASSES)))
    found = levit_tf.LeViT("LeViTNano", weights="hf://me/flowers")
    assert found.input_shape == (None, 96, 96, 3)
    larger = keras.Input((128, 96, 3))
    other = levit_tf.LeViT("LeViTNano", weights="hf://me/flowers", input_tensor=larger)
    assert other.input_shape == (None, 128, 96, 3)
    np.testing.assert_allclose(logits(found), logits(model), rtol=1e-6, atol=1e-7)
    properties = levit_tf.model_properties(found)
    assert properties.class_names == CLASSES
    assert properties.origin == f"LeViTNano, timm checkpoint hf://me/flowers@{COMMIT}"


def test_a_repository_without_config_is_pinned_by_its_weights(hub, model):
    files = timm_files(model)
    del files["config.json"]
    hub.publish("me/bare", files)
    assert open_hub_checkpoint("hf://me/bare").address.revision == COMMIT


@pytest.mark.slow
def test_transformers_names_and_normalisation_reach_every_answer(hub, model, tmp_path):
    hub.publish("me/flowers", transformers_files(model, HALVES, id2label=named()))
    output = tmp_path / "flowers.keras"
    assert call(from_pytorch, ["--checkpoint=hf://me/flowers", f"--output={output}"]) == 0
    found = keras.models.load_model(output)
    np.testing.assert_allclose(logits(found), logits(model), rtol=1e-6, atol=1e-7)
    properties = levit_tf.model_properties(found)
    assert properties.class_names == CLASSES
    assert properties.input_range == levit_tf.InputRange((0.5, 0.5, 0.5), (0.5, 0.25, 0.5))
    # Plain pixels are normalised so, by the file and by the address alike.
    images = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3))
    normalized = ((images / 255 - 0.5) / np.array([0.5, 0.25, 0.5])).astype(np.float32)
    expected = model(normalized, training=False).numpy()
    for source in (output, "hf://me/flowers"):
        predictor = load_predictor(source)
        assert predictor.class_names == list(CLASSES)
        np.testing.assert_allclose(predictor.predict(images), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_the_same_checkpoint_from_disk_gives_the_same_logits(hub, model, tmp_path):
    files = timm_files(model)
    hub.publish("me/flowers", files)
    (tmp_path / "model.safetensors").write_bytes(files["model.safetensors"])
    for source, name in (("hf://me/flowers", "hub"), (tmp_path / "model.safetensors", "disk")):
        arguments = [f"--checkpoint={source}", f"--output={tmp_path / name}.keras"]
        assert call(from_pytorch, arguments) == 0
    hub_model, disk_model = (
        keras.models.load_model(tmp_path / f"{name}.keras") for name in ("hub", "disk")
    )
    np.testing.assert_array_equal(logits(hub_model), logits(disk_model))


@pytest.mark.slow
def test_a_revision_is_the_one_that_is_pinned(hub, model):
    hub.publish("me/flowers", timm_files(model))
    other = keras.models.clone_model(model)
    randomize_keras(other, seed=7)
    hub.publish("me/flowers", timm_files(other), commit="2" * 40)
    hub.branches["refs/pr/1"] = "2" * 40
    for revision, expected in (("main", model), ("2" * 40, other), (COMMIT, model)):
        found = levit_tf.LeViT("LeViTNano", weights=f"hf://me/flowers@{revision}")
        np.testing.assert_allclose(logits(found), logits(expected), rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_what_is_cached_needs_no_network(hub, model, monkeypatch):
    hub.publish("me/flowers", timm_files(model))
    levit_tf.LeViT("LeViTNano", weights="hf://me/flowers")
    hub.requests.clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    found = levit_tf.LeViT("LeViTNano", weights="hf://me/flowers")
    np.testing.assert_allclose(logits(found), logits(model), rtol=1e-6, atol=1e-7)
    assert hub.requests == []
    with pytest.raises(ConnectionError, match=r"hf://me/other: config.json is not in the cache"):
        levit_tf.LeViT("LeViTNano", weights="hf://me/other")


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_what_other_tools_cached_needs_no_network(hub, model, monkeypatch, weights):
    """They ask only for what exists, so that the cache does not know what else does not."""
    files = timm_files(model)
    files = {"config.json": files["config.json"], weights: files["model.safetensors"]}
    if weights == "pytorch_model.bin":
        torch = pytest.importorskip("torch")
        tensors = safetensors.numpy.load(files[weights])
        content = io.BytesIO()
        torch.save({name: torch.from_numpy(x) for name, x in tensors.items()}, content)
        files[weights] = content.getvalue()
    hub.publish("me/flowers", files)
    for name in files:
        huggingface_hub.hf_hub_download("me/flowers", name)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    found = open_hub_checkpoint("hf://me/flowers")
    assert found.address.revision == COMMIT
    assert found.info.classes == len(CLASSES)


def test_normalisation_that_is_not_cached_is_not_guessed(hub, model, monkeypatch):
    files = transformers_files(model, HALVES)
    hub.publish("me/flowers", files)
    for name in ("config.json", "model.safetensors"):
        huggingface_hub.hf_hub_download("me/flowers", name)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match=r"preprocessor_config.json is not in the cache"):
        open_hub_checkpoint("hf://me/flowers")


def test_a_gated_repository_opens_with_the_token(hub, model, monkeypatch):
    hub.publish("me/flowers", timm_files(model))
    hub.gated.add("me/flowers")
    with pytest.raises(PermissionError, match=r"private or gated \(HTTP 401\).*HF_TOKEN"):
        levit_tf.LeViT("LeViTNano", weights="hf://me/flowers")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    levit_tf.LeViT("LeViTNano", weights="hf://me/flowers")


def test_damaged_files_are_refused_and_not_kept(hub, model):
    files = timm_files(model)
    hub.publish("me/flowers", files)
    tampered = bytearray(files["model.safetensors"])
    tampered[-5] ^= 1
    hub.replaced["model.safetensors"] = bytes(tampered)
    with pytest.raises(ValueError, match=r"model.safetensors has a wrong checksum.*fetch it again"):
        levit_tf.LeViT("LeViTNano", weights="hf://me/flowers")
    hub.replaced = {"config.json": files["config.json"].replace(b"0.485", b"0.585")}
    hub.publish("me/second", files)
    with pytest.raises(ValueError, match=r"config.json has a wrong checksum"):
        levit_tf.LeViT("LeViTNano", weights="hf://me/second")
    hub.replaced = {}
    for name in ("flowers", "second"):
        levit_tf.LeViT("LeViTNano", weights=f"hf://me/{name}")


def test_a_download_that_is_cut_off_is_refused_and_begins_again(hub, model, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between huggingface_hub's tries
    hub.publish("me/flowers", timm_files(model))
    hub.cut.add("model.safetensors")
    with pytest.raises(ConnectionError, match=r"hf://me/flowers@1+: model.safetensors cannot be"):
        levit_tf.LeViT("LeViTNano", weights="hf://me/flowers")
    hub.cut.clear()
    levit_tf.LeViT("LeViTNano", weights="hf://me/flowers")


def without(files, name):
    return {key: content for key, content in files.items() if key != name}


@pytest.mark.slow
def test_what_is_no_levit_is_told(hub, model):
    files = timm_files(model)
    resnet = json.dumps({"architecture": "resnet50", "num_classes": 3}).encode()
    bert = json.dumps({"architectures": ["BertModel"], "model_type": "bert"}).encode()
    cases = {
        "resnet": (files | {"config.json": resnet}, "Found: resnet50"),
        "bert": (files | {"config.json": bert}, "Found: BertModel"),
        "nothing": ({"README.md": b"hello"}, "has no checkpoint. Looked for: model.safetensors"),
        "no-json": (files | {"config.json": b"<html>"}, "config.json is no JSON"),
        "short": (timm_files(model, label_names=["a", "b"]), "2 class names for a model of 3"),
        "long": (
            transformers_files(model, id2label=named("abcd")),
            "4 class names for a model of 3",
        ),
        "gap": (transformers_files(model, id2label={"0": "a", "2": "b"}), "none of class 1"),
        "count": (timm_files(model, num_classes=4), "says 4 classes, and the weights have 3"),
    }
    for name, (content, message) in cases.items():
        hub.publish(f"me/{name}", content)
        with pytest.raises(ValueError, match=message) as error:
            levit_tf.LeViT("LeViTNano", weights=f"hf://me/{name}")
        assert str(error.value).startswith(f"hf://me/{name}")
    with pytest.raises(PermissionError, match=r"hf://me/gone: no such repository"):
        levit_tf.LeViT("LeViTNano", weights="hf://me/gone")
    with pytest.raises(ValueError, match=r"has no revision 'v9'"):
        levit_tf.LeViT("LeViTNano", weights="hf://me/resnet@v9")


@pytest.mark.slow
def test_another_variant_or_another_head_is_told(hub, model):
    hub.publish("me/flowers", timm_files(model))
    with pytest.raises(ValueError, match=r"are those of LeViTNano. Received: LeViT128S"):
        levit_tf.LeViT128S(weights="hf://me/flowers")
    with pytest.raises(ValueError, match=r"has 3 classes. Received: classes=5.*reset_classifier"):
        levit_tf.LeViT("LeViTNano", weights="hf://me/flowers", classes=5)
    single = levit_tf.LeViT("LeViTNano", input_shape=(96, 96, 3), classes=3, heads="single")
    hub.publish("me/single", timm_files(single))
    with pytest.raises(ValueError, match=r'have one head.*heads="single"'):
        levit_tf.LeViT("LeViTNano", weights="hf://me/single")
    assert (
        levit_tf.LeViT("LeViTNano", weights="hf://me/single", heads="single").output_shape[1] == 3
    )


def test_unnamed_labels_are_none_and_a_thousand_are_imagenets(hub, model):
    hub.publish(
        "me/plain", transformers_files(model, id2label=named(["LABEL_0", "LABEL_1", "LABEL_2"]))
    )
    found = levit_tf.LeViT("LeViTNano", weights="hf://me/plain")
    assert levit_tf.model_properties(found).class_names is None


@pytest.mark.slow
def test_the_endpoint_of_the_environment_is_asked(model, tmp_path):
    with serving_hub() as server:
        server.publish("me/flowers", timm_files(model, label_names=list(CLASSES)))
        server.gated.add("me/flowers")
        environment = ENVIRONMENT | {
            "HF_ENDPOINT": server.url,
            "HF_HOME": str(tmp_path / "home"),
            "HF_TOKEN": TOKEN,
        }
        command = [sys.executable, "-m", "converters.from_pytorch"]
        output = tmp_path / "flowers.keras"
        done = subprocess.run(
            [*command, "--checkpoint=hf://me/flowers", f"--output={output}"],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "home/hub/models--me--flowers").is_dir()
        del environment["HF_TOKEN"]
        done = subprocess.run(
            [*command, "--checkpoint=hf://me/flowers", f"--output={tmp_path / 'again.keras'}"],
            capture_output=True,
            text=True,
            check=False,
            env=environment | {"HF_HOME": str(tmp_path / "other")},
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: hf://me/flowers: no such repository, or")
    assert not os.path.exists(tmp_path / "again.keras")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf://timm/levit_256.fb_dist_in1k", HubAddress("timm/levit_256.fb_dist_in1k")),
        ("hf://a/b@v1.0", HubAddress("a/b", "v1.0")),
        ("hf://a/b@refs%2Fpr%2F1/x/y.bin", HubAddress("a/b", "refs/pr/1", "x/y.bin")),
        ("hf://a/b/y.safetensors", HubAddress("a/b", None, "y.safetensors")),
    ],
)
def test_addresses_are_read_and_written(text, expected):
    assert parse_address(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize("text", ["hf://", "hf://a", "hf://a/b@", "hf://a/b/../c", "hf:/a/b"])
def test_what_is_no_address_is_told(text):
    with pytest.raises(ValueError, match="Expected hf://OWNER/NAME"):
        parse_address(text)
