"""Several replicas equal one device on the same global batch, and fail and go on together."""

import re
import subprocess
import sys

import numpy as np
import pytest

import levit_tf
from tests.support.randomize import randomize_keras
from tests.support.training import workers
from training.checkpoints import manifest

pytestmark = pytest.mark.slow
MODULE = "tests.support.training.train_only"
# Two logical CPUs, which have to be made before anything else.
TWO_DEVICES = """
import levit_tf, tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
logical = tf.config.LogicalDeviceConfiguration
tf.config.set_logical_device_configuration(cpu, [logical(), logical()])
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """A run without draws of each replica's own, from weights that make every branch count."""
    path = tmp_path_factory.mktemp("initial") / "initial.keras"
    model = levit_tf.LeViT("LeViTTiny", classes=10, heads="single")
    randomize_keras(model)
    model.save(path)
    return (
        *("variant=LeViTTiny", "epochs=1", "warmup_epochs=0", "batch_size=96", "repeats=3"),
        *("erasing=0.25", "clip_factor=0.01", "ema_decay=0.9", "learning_rate=0.001"),
        *(f"init_from={path}", "checkpoint_steps=4"),
    )


@pytest.fixture(scope="module")
def one_device(tmp_path_factory, settings):
    folder = tmp_path_factory.mktemp("one")
    result = workers.run(folder, settings, "--strategy=onedevice", module=MODULE)
    return folder, losses(result)


def losses(result):
    return [float(value) for value in re.findall(r"^loss (\S+)$", result.stdout, re.MULTILINE)]


def assert_equal(folder, found, one_device):
    reference, expected = one_device
    assert len(expected) == 14
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    one, other = workers.checkpoint(reference), workers.checkpoint(folder)
    assert set(one) == set(other)
    for name, value in one.items():
        if "moving_" in name:
            np.testing.assert_allclose(other[name], value, rtol=1e-2, atol=1e-2, err_msg=name)
    (row,), (expected_row,) = workers.rows(folder), workers.rows(reference)
    assert row["top1"] == pytest.approx(expected_row["top1"], abs=0.01)


def test_two_mirrored_replicas_equal_one_device(tmp_path, settings, one_device):
    result = workers.run(
        tmp_path, settings, "--strategy=mirrored", before=TWO_DEVICES, module=MODULE
    )
    assert "replicas differ" not in result.stdout
    assert_equal(tmp_path, losses(result), one_device)


def start_all(folder, settings):
    return [
        workers.start(
            folder, settings, "--strategy=multiworker", environment=environment, module=MODULE
        )
        for environment in workers.cluster(2)
    ]


def test_two_workers_equal_one_device(tmp_path, settings, one_device):
    results = [workers.finish(process) for process in start_all(tmp_path, settings)]
    assert [result.returncode for result in results] == [0, 0], [r.stderr for r in results]
    assert losses(results[0]) == losses(results[1])
    assert_equal(tmp_path, losses(results[0]), one_device)
    assert (tmp_path / "workers" / "1" / "checkpoints").is_dir()


@pytest.mark.parametrize(("victim", "damaged"), [(0, None), (1, None), (0, "index"), (1, "json")])
def test_a_lost_worker_ends_the_other_and_the_restart_goes_on(tmp_path, settings, victim, damaged):
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    checkpoints = broken / "checkpoints"
    settings = (*settings, "epochs=3")
    processes = start_all(broken, settings)
    workers.wait_for(workers.has_checkpoint(broken, 8), processes[0])
    processes[victim].kill()
    survivor = workers.finish(processes[1 - victim])
    processes[victim].communicate()
    assert survivor.returncode == 1
    assert "Another worker of this run is gone" in survivor.stderr
    assert "Start all of them again" in survivor.stderr
    if damaged:
        newest = manifest.prefix_of(checkpoints, manifest.steps(checkpoints)[0])
        newest.with_name(f"{newest.name}.{damaged}").write_bytes(b"")
    results = [workers.finish(process) for process in start_all(broken, settings)]
    assert [result.returncode for result in results] == [0, 0], [r.stderr for r in results]
    assert "goes on after step" in results[0].stdout
    assert ("passed over" in results[0].stdout) == bool(damaged)
    for process in start_all(whole, settings):
        assert workers.finish(process).returncode == 0
    assert workers.rows(broken) == workers.rows(whole)
    found, expected = workers.checkpoint(broken), workers.checkpoint(whole)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_answers_that_one_worker_lacks_are_asked_by_both(tmp_path, settings):
    cache = tmp_path / "cache"
    teacher = next(value for value in settings if value.startswith("init_from="))
    teacher = teacher.replace("init_from", "teacher")
    settings = (*settings, teacher, "distillation=soft", f"teacher_cache={cache}")

    def run_both(name):
        results = [workers.finish(process) for process in start_all(tmp_path / name, settings)]
        assert [result.returncode for result in results] == [0, 0], [r.stderr for r in results]
        return losses(results[0]), {path: path.read_bytes() for path in cache.glob("*.npz")}

    expected = run_both("first")
    (lacking,) = (path for path in expected[1] if "worker-1-of-2" in path.name)
    lacking.unlink()
    assert run_both("second") == expected


def test_sigterm_to_one_worker_stops_both(tmp_path, settings):
    settings = (*settings, "epochs=99")  # not over before the signal comes, on a busy machine too
    processes = start_all(tmp_path, settings)
    workers.wait_for(workers.has_checkpoint(tmp_path, 4), processes[0])
    processes[1].terminate()
    results = [workers.finish(process) for process in processes]
    assert [result.returncode for result in results] == [0, 0], [r.stderr for r in results]
    assert "SIGTERM: saves after this step" in results[1].stderr
    assert "stopped by another worker after step" in results[0].stdout


def test_xla_for_several_replicas_is_refused(tmp_path, settings):
    process = workers.start(
        tmp_path,
        (*settings, "jit_compile=true"),
        "--strategy=mirrored",
        before=TWO_DEVICES,
        module=MODULE,
    )
    result = workers.finish(process)
    assert result.returncode == 1
    assert "jit_compile is for one replica, or a TPU; here are 2" in result.stderr


def test_two_replicas_under_xla_have_the_losses_of_one(tmp_path):
    path = tmp_path / "initial.keras"
    model = levit_tf.LeViT("LeViTTiny", classes=10, heads="both")
    randomize_keras(model)
    model.save(path)
    command = [sys.executable, "-m", "tests.support.training.replicated_steps", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, env=workers.ENVIRONMENT)
    assert result.returncode == 0, result.stderr
    one, two, compiled = ([float(x) for x in line.split()] for line in result.stdout.splitlines())
    assert len(one) == 6
    np.testing.assert_allclose(two, one, rtol=1e-5)
    np.testing.assert_allclose(compiled, one, rtol=1e-5)


def test_two_replicas_teach_exits_as_one_device_does(tmp_path, settings):
    settings = (*settings, "exits=0:attention,1:pool")
    folders = tmp_path / "one", tmp_path / "two"
    one = workers.run(folders[0], settings, "--strategy=onedevice", module=MODULE)
    two = workers.run(
        folders[1], settings, "--strategy=mirrored", before=TWO_DEVICES, module=MODULE
    )
    np.testing.assert_allclose(losses(two), losses(one), rtol=1e-4)
    found, expected = map(workers.checkpoint, reversed(folders))
    for name, value in expected.items():
        if "exits_" not in name and name.startswith("model/"):
            np.testing.assert_array_equal(found[name], value, err_msg=name)
