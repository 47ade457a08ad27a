"""`--set=teacher=hf://...`: a LeViT on the hub teaches, or the run says why it cannot."""

import json

import huggingface_hub
import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load, save

import levit_tf
from tests.support.commands import call
from tests.support.hub_repositories import timm_files, transformers_files
from tests.support.hub_server import COMMIT, TOKEN
from tests.support.randomize import randomize_keras
from training import main as command
from training.config import load_config, override
from training.loop.session import make_session
from training.run import run
from training.strategy import make_strategy
from training.teachers.cache import TeacherCacheError
from training.teachers.teacher import find_teacher, load_teacher

ADDRESS, NEXT = "hf://me/teacher", "2" * 40
DIGITS = [str(n) for n in range(10)]
SIZE = (64, 64)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    made = levit_tf.LeViT("LeViTNano", classes=10, classifier_activation=None)
    randomize_keras(made)
    return made


@pytest.fixture
def hub(hub, model):
    hub.publish("me/teacher", timm_files(model, label_names=DIGITS))
    return hub


def config_of(*settings, address=ADDRESS):
    steps = ("epochs=1", "warmup_epochs=0", "batch_size=512", "distillation=soft")
    return override(load_config("digits"), (*steps, f"teacher={address}", *settings))


def session_of(digits, *settings, **address):
    return make_session(config_of(*settings, **address), digits, make_strategy("default"))


def assert_same_softmax(found, expected):
    np.testing.assert_allclose(tf.nn.softmax(found), tf.nn.softmax(expected), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_classes_size_and_normalisation_are_those_of_the_repository(hub, model):
    names = dict(enumerate(DIGITS[::-1]))
    preprocessor = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    hub.publish("me/other", transformers_files(model, preprocessor, id2label=names))
    pixels = np.random.default_rng(0).uniform(size=(3, *SIZE, 3)).astype(np.float32)
    student = levit_tf.preprocess_input(255 * pixels)
    teacher = load_teacher("hf://me/other", SIZE, 10, class_names=[(name,) for name in DIGITS])
    assert_same_softmax(teacher(student), model(2 * pixels - 1).numpy()[:, ::-1])
    assert str(teacher).startswith(f"teacher hf://me/other@{COMMIT}: takes symmetric")
    assert "10 of its 10 classes, by name" in str(teacher)
    plain = load_teacher(ADDRESS, (32, 32), 10, class_names=[(name,) for name in DIGITS])
    small = levit_tf.preprocess_input(255 * pixels[:, :32, :32])
    resized = tf.image.resize(small, SIZE, "bicubic", antialias=True)
    assert_same_softmax(plain(small), model(resized))
    assert "resized to 64x64" in str(plain)


def test_what_cannot_teach_is_said_before_anything_is_written(hub, model, tmp_path, capsys):
    resnet = json.dumps({"architecture": "resnet50", "num_classes": 10}).encode()
    files = timm_files(model)
    hub.publish("me/resnet", files | {"config.json": resnet})
    hub.publish("me/nothing", {"README.md": b"hello"})
    state = {k: v for k, v in load(files["model.safetensors"]).items() if "head" not in k}
    hub.publish("me/headless", files | {"model.safetensors": save(state)})
    hub.publish("me/gated", files)
    hub.gated.add("me/gated")
    cases = {
        "hf://me/resnet": "hf://me/resnet@1+: expected a LeViT of timm",
        "hf://me/nothing": "hf://me/nothing: the repository has no checkpoint",
        "hf://me/headless": "teacher hf://me/headless@1+: a LeViT without a classification head",
        "hf://me/gated": r"hf://me/gated: .* private or gated \(HTTP 401\). .*; log in",
        "hf://me/gone": "hf://me/gone: no such repository",
        f"{ADDRESS}@v9": "hf://me/teacher@v9: the repository has no revision 'v9'",
        "hf://me": "Expected hf://OWNER/NAME",
    }
    output = tmp_path / "run"
    for address, message in cases.items():
        settings = [f"--set=teacher={address}", "--set=distillation=soft"]
        assert call(command, [f"--output={output}", *settings]) == 1
        found = capsys.readouterr()
        assert found.err.count("\n") == 1
        with pytest.raises(ValueError, match=f"error: .*{message}"):
            raise ValueError(found.err)
        assert found.out == ""
        assert not output.exists()


@pytest.mark.slow
@pytest.mark.parametrize("cached", [False, True])
def test_a_teacher_that_does_not_fit_leaves_nothing_behind(hub, model, tmp_path, cached, capsys):
    letters = [*DIGITS[:9], "ten"]
    hub.publish("me/letters", timm_files(model, label_names=letters))
    cases = {
        ("hf://me/letters", "distillation=soft"): "has no class '9'.* --set=teacher_classes=FILE",
        (ADDRESS, "teacher_preprocessing=pixels"): "teacher_preprocessing=pixels contradicts",
    }
    output, cache = tmp_path / "run", tmp_path / "answers"
    more = [f"--set=teacher_cache={cache}"] if cached else []
    for (address, setting), message in cases.items():
        settings = [f"--set=teacher={address}", "--set=distillation=soft", f"--set={setting}"]
        assert call(command, [f"--output={output}", *settings, *more]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        with pytest.raises(ValueError, match=rf"error: teacher {address}@1+: .*{message}"):
            raise ValueError(line)
        assert not output.exists()
        assert not cache.exists()
    assert load_teacher(
        *("hf://me/letters", SIZE, 10),
        class_names=[(name,) for name in DIGITS],
        class_file=_map(tmp_path, {name: n for n, name in enumerate(DIGITS)}),
    )


def _map(folder, content):
    (folder / "map.json").write_text(json.dumps(content))
    return str(folder / "map.json")


def test_the_token_opens_what_is_gated_and_the_cache_what_is_offline(hub, monkeypatch):
    hub.gated.add("me/teacher")
    with pytest.raises(PermissionError):
        find_teacher(ADDRESS)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert str(find_teacher(ADDRESS).address) == f"{ADDRESS}@{COMMIT}"
    hub.requests.clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert str(find_teacher(ADDRESS).address) == f"{ADDRESS}@{COMMIT}"
    with pytest.raises(ConnectionError, match=r"hf://me/other: config.json is not in the cache"):
        find_teacher("hf://me/other")
    assert hub.requests == []


def pushed(hub, model):
    """Pushes other weights to the main branch."""
    other = keras.models.clone_model(model)
    randomize_keras(other, seed=7)
    hub.publish("me/teacher", timm_files(other, label_names=DIGITS), NEXT)
    hub.branches["main"] = NEXT


@pytest.mark.slow
def test_a_run_keeps_the_commit_with_which_it_began(hub, model, monkeypatch, tmp_path):
    folder, seen = tmp_path / "run", []
    monkeypatch.setattr("training.run.train", lambda session, *_: seen.append(session.named.on_hub))

    def recorded():
        return json.loads((folder / "run.json").read_text())["on_hub"]

    config = config_of(f"init_from={ADDRESS}", "variant=LeViTNano")
    looked_up = ("HEAD", "/me/teacher/resolve/main/config.json")
    first = dict.fromkeys(("init_from", "teacher"), f"{ADDRESS}@{COMMIT}")
    run(config, folder)
    assert hub.requests.count(looked_up) == 2  # once for each field
    assert recorded() == first
    pushed(hub, model)
    hub.requests.clear()
    run(config, folder)  # resumes
    assert not any("/main/" in path for _, path in hub.requests)
    assert recorded() == first
    run(config, folder, overwrite=True)
    assert recorded() == dict.fromkeys(first, f"{ADDRESS}@{NEXT}")
    assert seen == [first, first, recorded()]


@pytest.mark.slow
def test_a_cache_of_another_commit_is_refused_by_its_name(hub, model, digits, tmp_path):
    cached = f"teacher_cache={tmp_path / 'answers'}"
    session = session_of(digits, cached)
    assert session.fill_cache(lambda: False)
    answers = next(iter(session.train_batches(0)))[2]
    asking = session_of(digits)
    np.testing.assert_array_equal(answers, asking.teacher(next(iter(asking.train_batches(0)))[0]))
    pushed(hub, model)
    with pytest.raises(
        TeacherCacheError, match=f"teacher was '{ADDRESS}@{COMMIT}' and is '{ADDRESS}@{NEXT}'"
    ):
        session_of(digits, cached)
    again = session_of(digits, cached, address=f"{ADDRESS}@{COMMIT}")
    np.testing.assert_array_equal(next(iter(again.train_batches(0)))[2], answers)
