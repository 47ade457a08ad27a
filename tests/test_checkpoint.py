"""Checkpoints: complete or not at all, kept by a policy, and never of something else."""

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from training.checkpoint import CheckpointError, Checkpoints


def variables(shape=(3,), name="w"):
    step = tf.Variable(0, dtype=tf.int64, name="step")
    return step, {"model": [keras.Variable(np.zeros(shape), name=name)], "loop": [step]}


def save(checkpoints, step, state, at, best=False):
    step.assign(at)
    for variable in state["model"]:
        variable.assign(np.full(variable.shape, at))
    checkpoints.save(best)


def files(folder):
    return sorted(path.name for path in folder.glob("*.index"))


def test_the_last_ones_and_the_best_are_kept(tmp_path):
    step, state = variables()
    checkpoints = Checkpoints(tmp_path, state, step, keep=2)
    for at in (10, 20, 30, 40):
        save(checkpoints, step, state, at, best=at == 20)
    assert files(tmp_path / "checkpoints") == ["ckpt-30.index", "ckpt-40.index"]
    assert files(tmp_path / "checkpoints" / "best") == ["ckpt-20.index"]


def test_the_newest_is_restored(tmp_path):
    step, state = variables()
    checkpoints = Checkpoints(tmp_path, state, step, keep=3)
    for at in (1, 2):
        save(checkpoints, step, state, at)
    step, state = variables()
    assert Checkpoints(tmp_path, state, step, keep=3).restore()
    assert int(step) == 2
    np.testing.assert_array_equal(state["model"][0], [2, 2, 2])


def test_the_policy_holds_after_a_restart(tmp_path):
    for at in (1, 2, 3):
        step, state = variables()
        checkpoints = Checkpoints(tmp_path, state, step, keep=2)
        assert checkpoints.restore() == (at > 1)
        save(checkpoints, step, state, at)
    assert files(tmp_path / "checkpoints") == ["ckpt-2.index", "ckpt-3.index"]


def test_in_an_empty_folder_there_is_nothing_to_restore(tmp_path):
    step, state = variables()
    checkpoints = Checkpoints(tmp_path, state, step, keep=3)
    assert checkpoints.latest is None
    assert not checkpoints.restore()


@pytest.mark.parametrize("other", [{"shape": (4,)}, {"name": "v"}])
def test_a_checkpoint_of_something_else_is_refused(tmp_path, other):
    step, state = variables()
    save(Checkpoints(tmp_path, state, step, keep=3), step, state, 1)
    step, state = variables(**other)
    with pytest.raises(CheckpointError, match="ckpt-1: damaged, or of another network"):
        Checkpoints(tmp_path, state, step, keep=3).restore()


def test_a_damaged_checkpoint_is_named(tmp_path):
    step, state = variables()
    save(Checkpoints(tmp_path, state, step, keep=3), step, state, 1)
    (data,) = (tmp_path / "checkpoints").glob("*.data*")
    data.write_bytes(b"")
    with pytest.raises(CheckpointError, match="ckpt-1: damaged"):
        Checkpoints(tmp_path, state, step, keep=3).restore()


def test_other_workers_save_beside_the_first(tmp_path):
    for worker in (0, 1):
        step, state = variables()
        save(Checkpoints(tmp_path, state, step, keep=3, worker=worker), step, state, 5)
    assert files(tmp_path / "workers" / "1" / "checkpoints") == ["ckpt-5.index"]
    step, state = variables()
    second = Checkpoints(tmp_path, state, step, keep=3, worker=1)
    assert second.latest == str(tmp_path / "checkpoints" / "ckpt-5")


def test_a_full_disk_leaves_the_previous_one(tmp_path):
    # A limit on the size of files makes writes fail as a full disk does, half way.
    script = f"""
        import pathlib, resource, signal
        import keras, numpy as np, tensorflow as tf
        from training.checkpoint import CheckpointError, Checkpoints
        step = tf.Variable(0, dtype=tf.int64, name="step")
        weights = keras.Variable(np.zeros(100_000), name="w")
        state = {{"model": [weights, step]}}
        checkpoints = Checkpoints(pathlib.Path({str(tmp_path)!r}), state, step, keep=1)
        step.assign(7)
        checkpoints.save()
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
        step.assign(8)
        try:
            checkpoints.save()
        except CheckpointError as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        print(checkpoints.restore(), int(step))
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    message, restored = result.stdout.strip().splitlines()
    assert "cannot be written" in message
    assert f"The last good one is {tmp_path}/checkpoints/ckpt-7." in message
    assert "Free some disk space" in message
    assert restored == "True 7", result.stderr
    left = {path.name.split(".")[0] for path in (tmp_path / "checkpoints").iterdir()}
    assert left == {"checkpoint", "ckpt-7"}
