"""What the training loop has for any network, exits have too: resuming, a cache, half precision."""

import numpy as np
import pytest
import tensorflow as tf

import levit_tf
from levit_tf.dynamic.exits import exit_layers
from levit_tf.names import WHOLE
from levit_tf.weights.keras_files import load_keras_file
from tests.fault_injector import difference, make_interruptible
from tests.support.randomize import random_images, randomize_keras
from tests.support.training.tiny_session import Killed
from training.config import load_config, override
from training.data import load_data
from training.loop.session import make_session
from training.run import prepare, train
from training.strategy import make_strategy

pytestmark = pytest.mark.slow
SIZE = (32, 32)
IMAGES = random_images(SIZE, 16)
EXITS = ("variant=LeViTNano", "input_size=32", "exits=0:attention,1:pool", "warmup_epochs=0")
TOGETHER = ("exits_end_to_end=true", "learning_rate=0.002")


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", input_size=SIZE)


def network(seed):
    model = levit_tf.LeViT("LeViTNano", input_shape=SIZE[0], classes=10, classifier_activation=None)
    randomize_keras(model, seed=seed)
    return model


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    path = tmp_path_factory.mktemp("backbone") / "final.keras"
    network(1).save(path)
    return path


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "teacher.keras"
    network(2).save(path)
    return path


def session_of(digits, backbone, *settings):
    config = override(load_config("digits"), (*EXITS, f"init_from={backbone}", *settings))
    return make_session(config, digits, make_strategy("default"))


def weights_of(model):
    """Weights by path, of the branches and of everything else."""
    branches = {weight.path for layer in exit_layers(model) for weight in layer.weights}
    found = {weight.path: np.array(weight) for weight in model.weights}
    return [
        {path: value for path, value in found.items() if (path in branches) is is_branch}
        for is_branch in (True, False)
    ]


@pytest.mark.parametrize("together", [(), (*TOGETHER, "drop_path=0.1")], ids=["frozen", "together"])
def test_a_run_that_is_killed_within_an_epoch_ends_as_the_undisturbed_one(
    backbone, tmp_path, monkeypatch, together
):
    monkeypatch.setattr("training.run.learning_curve", lambda *_: None)  # whose drawing takes long
    steps = ("epochs=2", "batch_size=256", "checkpoint_steps=2", "ema_decay=0.9", "mixup=0.8")
    session = make_interruptible((*EXITS, f"init_from={backbone}", *steps, *together))
    variables = [variable for group in session.state.values() for variable in group]
    initial = [np.array(variable) for variable in variables]
    whole, broken = tmp_path / "whole", tmp_path / "broken"

    def begin(folder, values):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        folder.mkdir(exist_ok=True)
        train(session, folder, prepare(session, folder))

    begin(whole, initial)
    session.kept["killed_after"] = 7  # of ten steps; the newest checkpoint is of the sixth
    with pytest.raises(Killed):
        begin(broken, initial)
    del session.kept["killed_after"]
    begin(broken, [np.ones_like(value) for value in initial])  # a new process knows nothing
    assert difference(broken, whole) == ""


@pytest.mark.parametrize("together", [(), TOGETHER], ids=["frozen", "together"])
def test_answers_of_a_cache_teach_exits_as_the_teacher_does_to_the_bit(
    digits, backbone, teacher, tmp_path, together
):
    taught = (f"teacher={teacher}", "distillation=soft", "mixup=0.4", "teacher_top=3", *together)
    steps = ("batch_size=512", "epochs=2", "distinct_epochs=1")

    def trained(*settings):
        session = session_of(digits, backbone, *taught, *steps, *settings)
        assert session.fill_cache(lambda: False)
        step, stop = session.train_step(), tf.constant(0.0)
        losses = [float(step(*batch, stop)[0]) for batch in session.train_batches(0)]
        return losses, session.model.get_weights()

    losses, weights = trained()
    found = trained(f"teacher_cache={tmp_path / 'answers'}")
    assert len(losses) == 4
    assert found[0] == losses
    for one, other in zip(found[1], weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("together", [(), TOGETHER], ids=["frozen", "together"])
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_exits_learn_in_half_precision(digits, backbone, precision, together):
    settings = ("batch_size=128", "epochs=2", "ema_decay=0.9", f"precision={precision}", *together)
    session = session_of(digits, backbone, *settings)
    branches, others = weights_of(session.model)
    step, stop = session.train_step(), tf.constant(0.0)
    losses = [float(step(*batch, stop)[0]) for batch in session.train_batches(0)]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    found, found_others = weights_of(session.model)
    for path, value in found.items():
        assert np.isfinite(value).all(), path
        assert not np.array_equal(value, branches[path]), path
    stay = [path for path, value in found_others.items() if np.array_equal(value, others[path])]
    if together:  # what chooses among the single token of a map of this size has no influence
        assert not any("kernel" in path or "moving_" in path for path in stay)
    else:
        assert len(stay) == len(others)
    assert {weight.dtype for weight in session.model.trainable_weights} == {"float32"}
    for average in (0, 1):
        session.ships_average.assign(average)
        answers = session.shipped().predict(IMAGES, verbose=0)
        assert all(np.isfinite(logits).all() for logits in answers.values())
        if not together:
            expected = levit_tf.with_heads(load_keras_file(backbone), "average", None)
            np.testing.assert_array_equal(answers[WHOLE], expected.predict(IMAGES, verbose=0))
