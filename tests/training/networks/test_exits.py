"""A run that teaches exits: the branches learn, and the network stays to the bit what it was."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import levit_tf
from levit_tf.dynamic.exits import exit_layers
from levit_tf.dynamic.steps import steps_of_exits
from levit_tf.names import WHOLE
from tests.support.cases import slow
from tests.support.randomize import random_images, randomize_keras
from training.config import load_config, override
from training.loop.session import make_session
from training.networks import exits
from training.networks.initial import find_source
from training.optim.losses import Distillation, ExitsLoss, cross_entropy
from training.run import run
from training.strategy import make_strategy

SETTINGS = ("epochs=2", "warmup_epochs=0", "batch_size=256", "ema_decay=0.9")
IMAGES = random_images((32, 32), 16)


@pytest.fixture(scope="module", params=[slow("single"), "both"])
def backbone(request, tmp_path_factory):
    """(file, logits of `IMAGES`) of a network with BatchNorm statistics of its own."""
    model = levit_tf.LeViT("LeViTTiny", classes=10, heads=request.param, classifier_activation=None)
    randomize_keras(model)
    path = tmp_path_factory.mktemp("backbone") / "final.keras"
    model.save(path)
    averaged = levit_tf.with_heads(model, "average", None) if request.param == "both" else model
    return path, averaged.predict(IMAGES, verbose=0)


def config_of(backbone, *settings):
    return override(load_config("digits_exits"), (*SETTINGS, f"init_from={backbone[0]}", *settings))


def trained(session, steps=3):
    step, batches = session.train_step(), session.train_batches(0)
    return [float(step(*next(batches), tf.constant(0.0))[0]) for _ in range(steps)]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_network_says_to_the_bit_what_it_said_while_its_exits_learn(
    backbone, digits, precision
):
    config = config_of(backbone, f"precision={precision}", "flip=0.5", "mixup=0.2")
    session = make_session(config, digits, make_strategy("default"))
    before = [np.array(w) for layer in exit_layers(session.model) for w in layer.weights]
    assert session.networks.is_head_fresh
    assert len(trained(session)) == 3
    for average in (0, 1):
        session.ships_average.assign(average)
        shipped = session.shipped()
        np.testing.assert_array_equal(shipped.predict(IMAGES, verbose=0)[WHOLE], backbone[1])
    after = [np.array(w) for layer in exit_layers(session.model) for w in layer.weights]
    moved = [not np.array_equal(a, b) for a, b in zip(after, before, strict=True)]
    assert all(moved)  # BatchNorm statistics of the branches among them
    assert levit_tf.model_properties(shipped).class_names == tuple(digits.class_names)


@pytest.mark.slow
def test_end_to_end_moves_the_network(backbone, digits):
    config = config_of(backbone, "exits_end_to_end=true")
    session = make_session(config, digits, make_strategy("default"))
    trained(session, 2)
    found = session.shipped().predict(IMAGES, verbose=0)[WHOLE]
    assert np.abs(found - backbone[1]).max() > 1e-3


def test_an_exit_learns_labels_teacher_and_the_whole_network():
    rng = np.random.default_rng(0)
    first, whole, teacher = rng.normal(size=(3, 6, 4)).astype(np.float32)
    targets = rng.dirichlet(np.ones(4), 6).astype(np.float32)
    outputs = {"exits_0": tf.constant(first), WHOLE: tf.constant(whole)}

    def log_softmax(x):
        return x - np.log(np.exp(x).sum(1, keepdims=True))

    base = Distillation("hard", alpha=0.25)
    decision = np.eye(4, dtype=np.float32)[teacher.argmax(1)]

    def of_one(logits):
        return 0.75 * cross_entropy(targets, logits) + 0.25 * cross_entropy(decision, logits)

    p = np.exp(log_softmax(whole))
    divergence = (p * (log_softmax(whole) - log_softmax(first))).sum(1)
    expected = 0.3 * (0.6 * of_one(first) + 0.4 * divergence) + of_one(whole)
    found = ExitsLoss(base, 0.4, 0.3, 1.0)(targets, outputs, tf.constant(teacher))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    with tf.GradientTape() as tape:
        tape.watch(outputs[WHOLE])
        loss = ExitsLoss(base, 1.0)(targets, outputs, tf.constant(teacher))
    assert not np.any(tape.gradient(loss, outputs[WHOLE]))  # it is no pupil of its exits


@pytest.mark.slow
def test_a_run_leaves_exits_that_are_better_than_before(backbone, digits, tmp_path, capsys):
    config = config_of(backbone, "epochs=1")
    assert run(config, tmp_path / "run")
    reports = {one["name"]: one for one in json.loads((tmp_path / "run/exits.json").read_text())}
    assert set(reports) == {"exits_0", "exits_1", WHOLE}
    assert reports[WHOLE]["agreement"] == 1
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["top1"] == reports[WHOLE]["top1"]
    assert result["exits"] == {name: one["top1"] for name, one in reports.items()}
    assert reports["exits_0"]["parameters"] > reports["exits_1"]["parameters"] > 0
    assert "converters.to_dynamic --models=" in (printed := capsys.readouterr().out)
    assert "--calibration=imagefolder:PATH" in printed  # the digits are no files
    final = keras.models.load_model(tmp_path / "run/final.keras")
    np.testing.assert_array_equal(final.predict(IMAGES, verbose=0)[WHOLE], backbone[1])
    assert len(steps_of_exits(keras.models.load_model(tmp_path / "run/fused.keras"))) == 3


@pytest.mark.slow
def test_a_predictor_and_an_export_take_the_whole_network(backbone, tmp_path):
    from converters.deploy import deploy_graph
    from levit_tf.dynamic.exits import add_exits
    from levit_tf.prediction.predictor import load_predictor

    model = add_exits(keras.models.load_model(backbone[0]))
    model.save(tmp_path / "exits.keras")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.float32)
    found = load_predictor(tmp_path / "exits.keras").predict(pixels)
    graph = deploy_graph(model)
    np.testing.assert_allclose(found, graph(pixels)["probabilities"], atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("init_from=none",), r"are put on a trained network: set init_from"),
        (("exits=2:pool",), r"each with one of pool, attention. Received: '2:pool'"),
        (("exits=0:pool,0:pool",), r"exits are written as"),
        (("exits=0:dense",), r"one of pool, attention"),
        (("drop_path=0.1",), r"drop_path=0.1 is about the network, which stays"),
        (("exits=none", "exits_end_to_end=true"), "exits_end_to_end needs exits"),
        (("exits_alpha=2",), r"exits_alpha must be in \[0, 1\]"),
        (("qat=int8",), "do not go together"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        override(load_config("digits_exits"), settings)


@pytest.mark.parametrize("name", ["digits_exits", "digits_qat"])
def test_the_folder_of_a_run_and_the_packaged_network_are_trained_networks(tmp_path, name):
    (tmp_path / "final.keras").write_bytes(b"")
    config = override(load_config(name), [f"init_from={tmp_path}"])
    assert find_source(config).path == str(tmp_path / "final.keras")
    config = override(load_config(name), ["init_from=LeViTMini", "variant=LeViTMini"])
    assert find_source(config).path == "LeViTMini"


@pytest.mark.slow
def test_a_network_of_other_classes_or_size_is_refused(digits, tmp_path):
    path = tmp_path / "other.keras"
    config = override(load_config("digits_exits"), [f"init_from={path}"])
    levit_tf.LeViT("LeViTTiny", classes=5).save(path)
    with pytest.raises(ValueError, match=r"other.keras: knows 5 classes; the data have 10"):
        exits.prepare(config, find_source(config), digits, 1)
    larger = digits.with_input_size((64, 64))
    with pytest.raises(ValueError, match=r"takes 32x32 .*Set input_size=32x32"):
        exits.prepare(config, find_source(config), larger, 1)
    levit_tf.LeViT("LeViTTiny", classes=10, input_shape=(None, None, 3), bias_size=32).save(path)
    with pytest.raises(ValueError, match=r"takes pictures of any size.* levit_tf.with_input_size"):
        exits.prepare(config, find_source(config), digits, 1)
    model = levit_tf.LeViT("LeViTTiny", classes=10)
    levit_tf.with_properties(model, class_names=digits.class_names[::-1]).save(path)
    with pytest.raises(ValueError, match=r"another order: '9' there, '0' here"):
        exits.prepare(config, find_source(config), digits, 1)
