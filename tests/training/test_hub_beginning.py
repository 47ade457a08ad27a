"""`--set=init_from=hf://...`: a run begins with a repository's network, or says why it cannot."""

import json

import keras
import numpy as np
import pytest

import levit_tf
from levit_tf.pictures.digits import CLASS_NAMES
from levit_tf.weights.keras_files import load_keras_file
from tests.support.commands import call
from tests.support.hub_repositories import timm_files
from tests.support.hub_server import COMMIT, TOKEN
from tests.support.randomize import randomize_keras
from training import main as command
from training.config import load_config, override
from training.keypoints.config import KeypointConfig
from training.keypoints.run import run as run_keypoints
from training.networks import network
from training.networks.initial import find_source, trained_network
from training.probe import load_backbone
from training.run import run

ADDRESS = "hf://me/digits"
HALVES = {"pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    made = levit_tf.LeViT("LeViTTiny", classes=10)
    randomize_keras(made)
    return made


@pytest.fixture
def hub(hub, model):
    names = list(CLASS_NAMES)
    hub.publish("me/digits", timm_files(model, label_names=names))
    hub.publish("me/reversed", timm_files(model, label_names=names[::-1]))
    return hub


def config_of(address, *settings):
    return override(load_config("digits"), (f"init_from={address}", *settings))


def begun(address, digits):
    """The student, what is said of its weights, and whether its head is fresh."""
    config = config_of(address)
    student = network.student(config, 10)
    source = find_source(config)
    text, is_head_fresh = network.initialise(source, student, digits.class_names)
    assert network.facts(config, source, digits, 1).is_head_fresh is is_head_fresh
    return student, text, is_head_fresh


def arrays(model):
    return {weight.path: np.array(weight) for weight in model.weights}


def test_a_run_begins_with_the_weights_of_the_repository(hub, digits, model):
    expected = arrays(model)
    student, text, is_head_fresh = begun(f"{ADDRESS}@main", digits)
    assert text.startswith(f"initial weights from LeViTTiny, timm checkpoint {ADDRESS}@{COMMIT}\n")
    assert not is_head_fresh
    for path, value in arrays(student).items():
        np.testing.assert_array_equal(value, expected[path], err_msg=path)


def test_a_head_of_other_classes_there_is_not_taken_over(hub, digits, model):
    expected = arrays(model)
    student, text, is_head_fresh = begun("hf://me/reversed", digits)
    assert is_head_fresh
    assert "but for the head, which is of other classes there" in text
    found = arrays(student)
    head, body = "classifier/head/linear/kernel", "stages_0_blocks_0_attn/qkv/linear/kernel"
    assert not np.array_equal(found[head], expected[head])
    np.testing.assert_array_equal(found[body], expected[body])


STILL = ("learning_rate=0", "warmup_learning_rate=0", "min_learning_rate=0", "epochs=1")
STILL = (f"init_from={ADDRESS}", *STILL, "warmup_epochs=0", "freeze_batch_norm=true")


@pytest.mark.slow
def test_the_command_trains_what_the_repository_holds(hub, model, tmp_path, capsys):
    output = tmp_path / "run"
    assert call(command, [f"--output={output}", *(f"--set={text}" for text in STILL)]) == 0
    assert f"initial weights from LeViTTiny, timm checkpoint {ADDRESS}@{COMMIT}" in (
        capsys.readouterr().out
    )
    expected = arrays(model)
    for path, value in arrays(load_keras_file(output / "final.keras")).items():
        np.testing.assert_allclose(value, expected[path], rtol=1e-6, atol=1e-7, err_msg=path)


@pytest.mark.slow
def test_one_run_asks_the_hub_once_and_another_run_asks_again(hub, model, monkeypatch, tmp_path):
    looked_up = f"/{ADDRESS.removeprefix('hf://')}/resolve/main/config.json"
    config, texts = config_of(ADDRESS, "epochs=1", "warmup_epochs=0"), []

    def begin(session, *_):
        texts.append(session.beginning)
        return False

    monkeypatch.setattr("training.run.prepare", lambda *_: None)
    monkeypatch.setattr("training.run.train", begin)
    for commit in (COMMIT, "2" * 40):
        hub.publish("me/digits", timm_files(model, label_names=list(CLASS_NAMES)), commit)
        hub.branches["main"] = commit
        hub.requests.clear()
        assert not run(config, tmp_path / commit)
        assert [path for method, path in hub.requests if method == "HEAD"].count(looked_up) == 1
        assert f"checkpoint {ADDRESS}@{commit}\n" in texts[-1]


def test_what_cannot_be_begun_with_is_said_before_anything_is_written(hub, model, tmp_path, capsys):
    resnet = json.dumps({"architecture": "resnet50", "num_classes": 10}).encode()
    files = timm_files(model)
    hub.publish("me/resnet", files | {"config.json": resnet})
    hub.publish("me/nothing", {"README.md": b"hello"})
    hub.publish("me/halves", timm_files(model, **HALVES))
    hub.publish("me/gated", files)
    hub.gated.add("me/gated")
    cases = {
        "hf://me/resnet": "expected a LeViT of timm",
        "hf://me/nothing": "has no checkpoint",
        "hf://me/gated": "private or gated (HTTP 401). Look at its name; log in",
        "hf://me/gone": "no such repository",
        f"{ADDRESS}@v9": "has no revision 'v9'",
        "hf://me/halves": "the input range of this network is symmetric; training normalises",
        "hf://me": "Expected hf://OWNER/NAME",
    }
    output = tmp_path / "run"
    for address, message in cases.items():
        assert call(command, [f"--output={output}", f"--set=init_from={address}"]) == 1
        found = capsys.readouterr()
        assert found.err.startswith("error: ")
        assert found.err.count("\n") == 1
        assert message in found.err
        assert found.out == ""
        assert not output.exists()
    other = [f"--output={output}", f"--set=init_from={ADDRESS}", "--set=variant=LeViTNano"]
    assert call(command, other) == 1
    said = f"init_from={ADDRESS}@{COMMIT}: a LeViTTiny; set variant=LeViTTiny.\n"
    assert capsys.readouterr().err == f"error: {said}"
    assert not output.exists()


def test_the_token_opens_what_is_gated(hub, monkeypatch):
    hub.gated.add("me/digits")
    with pytest.raises(PermissionError):
        find_source(config_of(ADDRESS))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    find_source(config_of(ADDRESS))


@pytest.mark.parametrize(
    "settings",
    [("exits=0:pool",), pytest.param(("qat=int8", "precision=float32"), marks=pytest.mark.slow)],
)
def test_exits_and_int8_begin_with_the_repository_too(settings, hub, digits, model):
    config = config_of(ADDRESS, *settings)
    if config.qat:
        from training.networks.qat import float_network

        found = float_network(config, find_source(config), digits)
        expected = levit_tf.fuse(model)
    else:
        found, expected = trained_network(find_source(config)), model
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(found(images), expected(images), rtol=1e-5, atol=1e-6)


def test_a_network_of_joints_refuses_before_it_writes(hub, tmp_path):
    config = KeypointConfig(dataset="lsp:gone", variant="LeViTNano", init_from=ADDRESS)
    with pytest.raises(ValueError, match="a LeViTTiny; set variant=LeViTTiny"):
        run_keypoints(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_new_head_is_fitted_on_the_repository(hub, model):
    for path, value in arrays(load_backbone(ADDRESS)).items():
        np.testing.assert_array_equal(value, arrays(model)[path], err_msg=path)
    hub.publish("me/halves", timm_files(model, **HALVES))
    with pytest.raises(
        ValueError, match="hf://me/halves: the input range of this network is symmetric"
    ):
        load_backbone("hf://me/halves")


def test_a_file_of_pictures_that_are_normalised_otherwise_is_refused(model, digits, tmp_path):
    path = tmp_path / "halves.keras"
    levit_tf.with_properties(model, input_range="symmetric").save(path)
    with pytest.raises(
        ValueError, match=r"halves.keras: the input range of this network is symmetric; .*FILE"
    ):
        begun(path, digits)
