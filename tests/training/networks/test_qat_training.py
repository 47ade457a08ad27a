"""Quantisation-aware training: the same loop, from a float network to the file that it is for."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import levit_tf
from converters.choices import TARGETS
from levit_tf.pictures import digits
from levit_tf.prediction.network_files import read_network
from levit_tf.preprocessing import preprocess_input
from tests.support.randomize import randomize_keras
from tests.support.training import workers
from tests.training.checkpoints.test_resume import assert_same_run, sigterm_when, train_here
from tests.training.test_replicas import MODULE, TWO_DEVICES, losses
from training.artefacts import FAKE_QUANTIZED, REFERENCE, write_artefacts
from training.config import load_config, override
from training.loop.session import make_session
from training.run import load_config_data
from training.strategy import make_strategy

FORMS = {
    "two heads": lambda model: model,
    "averaged": lambda model: levit_tf.with_heads(model, "average"),
    "fused": lambda model: levit_tf.fuse(levit_tf.with_heads(model, "average")),
}


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A float network whose every branch counts, in every form that a run can begin with."""
    folder = tmp_path_factory.mktemp("float")
    model = levit_tf.LeViT("LeViTTiny", classes=10, heads="both")
    randomize_keras(model)
    for name, form in FORMS.items():
        form(model).save(folder / f"{name}.keras")
    return folder


def config_of(source, *settings):
    base = ("dataset=digits", "variant=LeViTTiny", "qat=true", f"init={source}")
    return override(load_config("digits"), (*base, *settings))


def session_of(source, *settings):
    config = config_of(source, *settings)
    return make_session(config, load_config_data(config), make_strategy("default"))


def held_out_images(count):
    (_, _), (images, _) = digits.load_data()
    return images[:count].astype(np.float32)


@pytest.fixture(scope="module")
def taught(pretrained):
    """The session of a network of two heads, which are averaged and fused first."""
    path = pretrained / "two heads.keras"
    return session_of(path, "distillation=soft", "distillation_alpha=1.0")


def assert_rounded(found, path, images):
    """Logits of a student are those of its float network but for rounding."""
    outputs = keras.models.load_model(path)(images, training=False)
    if isinstance(outputs, dict):
        outputs = keras.ops.softmax((outputs["head"] + outputs["head_dist"]) / 2)
    found = tf.nn.softmax(found).numpy()
    np.testing.assert_allclose(found, outputs, atol=0.1)
    assert np.abs(found - outputs).max() > 1e-4


@pytest.mark.slow
def test_a_run_begins_with_the_answers_of_its_float_network(pretrained, taught):
    images = preprocess_input(held_out_images(64))
    found = taught.model(images, training=False)
    assert_rounded(found["head"], pretrained / "two heads.keras", images)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["averaged", "fused"])
def test_so_it_does_with_one_head(pretrained, form):
    path = pretrained / f"{form}.keras"
    images = preprocess_input(held_out_images(64))
    assert_rounded(session_of(path).model(images, training=False), path, images)


def test_qat_true_is_int8_and_init_is_short_for_init_from():
    config = config_of("a.keras")
    assert (config.qat, config.init_from) == ("int8", "a.keras")
    assert config_of("a.keras", "qat=int8_full").qat == "int8_full"
    assert config_of("a.keras", "qat=false").qat is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["qat=int4"], "qat must be one of int8, int8_full"),
        (
            ["init=none"],
            "set init_from to its .keras file or the folder of its run, to imagenet, to LeViTMini",
        ),
        (["init=a.weights.h5"], "Received: 'a.weights.h5'"),
        (["precision=bfloat16"], "precision=bfloat16 does not go with qat='int8'"),
        (["freeze_batch_norm=true"], "Set freeze_batch_norm=false"),
        (["drop_path=0.1"], "Set drop_path=none"),
    ],
)
def test_what_does_not_go_together_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        config_of("a.keras", *settings)


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (lambda: levit_tf.LeViT("LeViTNano", classes=10), [], "a LeViTNano; set variant=LeViTNano"),
        (
            lambda: levit_tf.LeViT("LeViTTiny", classes=5),
            [],
            "knows 5 classes; the data have 10",
        ),
        pytest.param(
            lambda: levit_tf.LeViT("LeViTTiny", classes=10),
            ["input_size=64"],
            "takes 32x32 pixels; the data are 64x64. Set input_size=32x32",
            marks=pytest.mark.slow,
        ),
        (
            lambda: levit_tf.with_properties(
                levit_tf.LeViT("LeViTTiny", classes=10), class_names=digits.CLASS_NAMES[::-1]
            ),
            [],
            "another order: '9' there, '0' here",
        ),
        (
            lambda: levit_tf.fuse(levit_tf.LeViT("LeViTTiny", classes=10, heads="both")),
            [],
            "fused with two heads, and the int8 file has one",
        ),
        (
            lambda: keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten()]),
            [],
            "is no LeViT",
        ),
    ],
)
def test_networks_that_a_run_cannot_begin_with_are_refused(tmp_path, make, settings, message):
    make().save(tmp_path / "float.keras")
    with pytest.raises(ValueError, match=message):
        session_of(tmp_path / "float.keras", *settings)


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"missing\.keras: no such file"):
        session_of("missing.keras")


def test_the_float_network_teaches_where_no_teacher_is_named(pretrained, taught):
    images = preprocess_input(held_out_images(8))
    probabilities = keras.models.load_model(pretrained / "fused.keras")(images, training=False)
    np.testing.assert_allclose(tf.nn.softmax(taught.teacher(images)), probabilities, atol=1e-5)
    assert set(taught.model(images)) == {"head", "head_dist"}


@pytest.mark.slow
def test_the_teacher_that_is_named_teaches(pretrained):
    path = pretrained / "fused.keras"
    named = session_of(path, "distillation=hard", f"teacher={path}")
    assert named.teacher.source == str(path)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_what_is_written_answers_as_the_student(pretrained, tmp_path, target):
    session = session_of(pretrained / "averaged.keras", f"qat={target}", "ema_decay=0.9")
    assert session.teacher is None
    for variable in session.ema.model.variables:
        if variable.dtype.is_floating:  # as if the average had been trained
            variable.assign(variable * 1.01)
    shipped = session.shipped()
    for overwrite in (False, True):  # again, as a run that was stopped while it wrote them
        names = write_artefacts(
            shipped,
            tmp_path,
            class_names=digits.CLASS_NAMES,
            calibration_images=None,
            overwrite=overwrite,
        )
    assert names == [FAKE_QUANTIZED, REFERENCE, f"{target}.tflite"]
    images = held_out_images(32)
    logits = session.ema.model(preprocess_input(images), training=False)
    expected = tf.nn.softmax(logits).numpy()
    trained, final, file = (read_network(tmp_path / name) for name in names)
    # A value half-way between two integers is rounded to either of them.
    np.testing.assert_allclose(trained.run(images), expected, atol=2e-3)
    np.testing.assert_allclose(final.run(images), expected, atol=0.1)
    found = np.concatenate([file.run(image[None]) for image in images])
    np.testing.assert_allclose(found, expected, atol=0.05)


def random_settings(source, target):
    return (
        *workers.RANDOM,
        *("drop_path=none", f"qat={target}", f"init={source}", "distillation=soft"),
    )


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_a_run_that_was_stopped_equals_one_that_was_not(pretrained, tmp_path, target):
    settings = random_settings(pretrained / "fused.keras", target)
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    with sigterm_when(workers.has_checkpoint(broken, 4)):
        assert not train_here(broken, settings).is_finished
    assert train_here(broken, settings).is_finished
    assert train_here(whole, settings).is_finished
    assert_same_run(broken, whole)
    assert any("output_max" in name for name in workers.checkpoint(whole))
    log = workers.rows(whole)
    assert log[-1]["loss"] < log[0]["loss"]


@pytest.mark.slow
def test_two_mirrored_replicas_equal_one_device(pretrained, tmp_path):
    settings = (
        *random_settings(pretrained / "fused.keras", "int8"),
        *("epochs=1", "warmup_epochs=0", "mixup=0", "cutmix=0", "learning_rate=0.001"),
    )
    one, two = tmp_path / "one", tmp_path / "two"
    expected = workers.run(one, settings, "--strategy=onedevice", module=MODULE)
    found = workers.run(two, settings, "--strategy=mirrored", before=TWO_DEVICES, module=MODULE)
    assert "replicas differ" not in found.stdout
    # The order of sums decides some roundings, of attention's products, too, and steps add up.
    np.testing.assert_allclose(losses(found)[:3], losses(expected)[:3], rtol=1e-4)
    np.testing.assert_allclose(losses(found), losses(expected), rtol=2e-3)
    ranges = workers.checkpoint(two)
    for name, value in workers.checkpoint(one).items():
        if "output_m" in name:
            np.testing.assert_allclose(ranges[name], value, rtol=1e-2, atol=1e-3, err_msg=name)


@pytest.mark.slow
def test_trained_digits_lose_nothing_and_the_files_answer_as_trained(tmp_path):
    workers.run(tmp_path / "float", ())
    before = artefacts(tmp_path / "float")
    init = f"init={tmp_path / 'float' / 'final.keras'}"
    for target in TARGETS:
        folder = tmp_path / target
        workers.run(folder, (init, f"qat={target}"), "--config=digits_qat")
        found = artefacts(folder)
        assert found[f"{target}.tflite"]["agreement"] >= 0.99
        assert found[f"{target}.tflite"]["top1"] >= before["final.keras"]["top1"] - 0.005
    assert artefacts(tmp_path / "int8")["int8.tflite"]["top1"] >= before["int8.tflite"]["top1"]


def artefacts(folder):
    return {row["name"]: row for row in json.loads((folder / "artefacts.json").read_text())}
