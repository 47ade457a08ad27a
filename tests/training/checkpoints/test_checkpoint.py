"""Checkpoints: complete or not at all, kept by a policy, and never of something else."""

import os
import re
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fault_injector import contents
from tests.support.training.full_disk import full_disk
from training.checkpoints import manifest
from training.checkpoints.checkpoint import CheckpointError, Checkpoints


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
        assert bool(checkpoints.restore()) == (at > 1)
        save(checkpoints, step, state, at)
    assert files(tmp_path / "checkpoints") == ["ckpt-2.index", "ckpt-3.index"]


def test_in_an_empty_folder_there_is_nothing_to_restore(tmp_path):
    step, state = variables()
    checkpoints = Checkpoints(tmp_path, state, step, keep=3)
    assert checkpoints.latest is None
    assert not checkpoints.restore()


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({"shape": (4,)}, r"model/w is float64 \[3\] there and float64 \[4\] here"),
        ({"name": "v"}, r"model/v is missing there and float64 \[3\] here; model/w is"),
    ],
)
def test_a_checkpoint_of_another_network_is_told_from_a_damaged_one(tmp_path, other, difference):
    step, state = variables()
    checkpoints = Checkpoints(tmp_path, state, step, keep=3)
    for at in (1, 2):
        save(checkpoints, step, state, at)
    before = contents(tmp_path)
    step, state = variables(**other)
    with pytest.raises(CheckpointError, match="ckpt-2: not damaged, but of another") as error:
        Checkpoints(tmp_path, state, step, keep=3).restore()
    assert re.search(difference, str(error.value))
    assert contents(tmp_path) == before


def saved(folder, *steps, best=(), keep=3):
    """A folder with checkpoints whose numbers are their steps."""
    step, state = variables()
    checkpoints = Checkpoints(folder, state, step, keep=keep)
    for at in steps:
        save(checkpoints, step, state, at, best=at in best)


def restored(folder, keep=3):
    """The step that is found, and the object that found it; all numbers are those of the step."""
    step, state = variables()
    checkpoints = Checkpoints(folder, state, step, keep=keep)
    found = checkpoints.restore()
    np.testing.assert_array_equal(state["model"][0], np.full(3, int(step)))
    return int(step), found, checkpoints


def flip(path, place=0):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "flipped": flip,
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-5]),
    "emptied": lambda path: path.write_bytes(b""),
    "removed": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
@pytest.mark.parametrize("kind", ["index", "data-00000-of-00001"])
def test_the_newest_that_is_whole_is_taken(tmp_path, kind, damage):
    saved(tmp_path, 1, 2, 3)
    damage(tmp_path / "checkpoints" / f"ckpt-3.{kind}")
    at, found, checkpoints = restored(tmp_path)
    assert (at, found.path, found.remark) == (2, tmp_path / "checkpoints" / "ckpt-2", "")
    (passed_over,) = checkpoints.passed_over
    assert passed_over.startswith(f"{tmp_path}/checkpoints/ckpt-3: ckpt-3.{kind} ")
    assert checkpoints.latest == str(found.path)


@pytest.mark.parametrize("damage", DAMAGES)
def test_where_a_manifest_is_damaged_an_older_checkpoint_with_one_is_taken(tmp_path, damage):
    reason = "it carries no checksums" if damage == "removed" else "ckpt-3.json is damaged"
    saved(tmp_path, 1, 2, 3)
    DAMAGES[damage](tmp_path / "checkpoints" / "ckpt-3.json")
    at, _, checkpoints = restored(tmp_path)
    assert (at, checkpoints.passed_over) == (2, [f"{tmp_path}/checkpoints/ckpt-3: {reason}"])


@pytest.mark.parametrize("damage", DAMAGES)
def test_where_all_manifests_are_damaged_the_newest_that_can_be_read_is_taken(tmp_path, damage):
    remark = "it carries no checksums" if damage == "removed" else "ckpt-3.json is damaged"
    saved(tmp_path, 1, 2, 3)
    for at in (1, 2, 3):
        DAMAGES[damage](tmp_path / "checkpoints" / f"ckpt-{at}.json")
    at, found, checkpoints = restored(tmp_path)
    assert (at, checkpoints.passed_over) == (3, [])
    assert found.remark == f"{remark}; all of it could be read"


def test_a_checkpoint_under_the_name_of_another_is_passed_over(tmp_path):
    saved(tmp_path, 1, 2)
    folder = tmp_path / "checkpoints"
    for suffix in ("json", "index", "data-00000-of-00001"):
        shutil.copyfile(folder / f"ckpt-1.{suffix}", folder / f"ckpt-3.{suffix}")
    at, _, checkpoints = restored(tmp_path)
    assert at == 2
    assert "ckpt-3.json is that of another checkpoint" in checkpoints.passed_over[0]
    for path in folder.glob("*.json"):
        path.unlink()
    at, _, checkpoints = restored(tmp_path)
    assert at == 2
    assert "it is of step 1, and named after another" in checkpoints.passed_over[0]


def test_tensorflows_list_of_checkpoints_is_not_looked_at(tmp_path):
    saved(tmp_path, 1, 2)
    (tmp_path / "checkpoints" / "checkpoint").write_text('model_checkpoint_path: "ckpt-1"')
    assert restored(tmp_path)[0] == 2
    (tmp_path / "checkpoints" / "checkpoint").write_bytes(b"\x80garbage")
    assert restored(tmp_path)[0] == 2


def test_the_times_of_the_files_do_not_matter(tmp_path):
    saved(tmp_path, 1, 2)
    for path in (tmp_path / "checkpoints").glob("ckpt-2.*"):
        os.utime(path, (0, 0))  # the clock was set back
    assert restored(tmp_path)[0] == 2


def test_the_best_is_gone_on_from_where_none_of_the_last_can_be_used(tmp_path):
    saved(tmp_path, 1, 2, 3, best=(2,), keep=1)
    (tmp_path / "checkpoints" / "ckpt-3.index").unlink()
    assert restored(tmp_path)[:2][1].path == tmp_path / "checkpoints" / "best" / "ckpt-2"


def test_where_none_can_be_used_nothing_changes(tmp_path):
    saved(tmp_path, 1, 2)
    for path in (tmp_path / "checkpoints").glob("*.index"):
        path.write_bytes(b"")
    before = contents(tmp_path)
    with pytest.raises(CheckpointError, match=r"none of the .*ckpt-2\.index has 0 bytes .*ckpt-1"):
        restored(tmp_path)
    assert contents(tmp_path) == before


def test_those_that_were_passed_over_go_when_a_newer_one_is_complete(tmp_path):
    saved(tmp_path, 1, 2, 3)
    (tmp_path / "checkpoints" / "ckpt-3.index").unlink()
    step, state = variables()
    checkpoints = Checkpoints(tmp_path, state, step, keep=2)
    checkpoints.restore()
    save(checkpoints, step, state, 4)
    assert manifest.steps(tmp_path / "checkpoints") == [4, 2]


def test_the_first_checkpoint_that_was_not_completed_is_no_checkpoint(tmp_path):
    saved(tmp_path, 1)
    (tmp_path / "checkpoints" / "ckpt-1.index").unlink()
    (tmp_path / "checkpoints" / "ckpt-1.json").unlink()
    step, state = variables()
    checkpoints = Checkpoints(tmp_path, state, step, keep=2)
    assert checkpoints.restore() is None
    assert "not completed" in checkpoints.passed_over[0]


@pytest.fixture
def earlier_version(tmp_path):
    """A folder as `tf.train.CheckpointManager` left it, which earlier versions used."""
    step, state = variables()
    named = {"model": {"w": state["model"][0].value}, "loop": {"step": step}}
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(**named), str(tmp_path / "checkpoints"), max_to_keep=3
    )
    for at in (1, 2):
        step.assign(at)
        state["model"][0].assign(np.full(3, at))
        manager.save(checkpoint_number=at)
    return tmp_path


def test_checkpoints_of_an_earlier_version_are_checked_by_reading_them(earlier_version):
    at, found, _ = restored(earlier_version)
    assert (at, found.notes) == (2, {})
    assert "no checksums" in found.remark
    data = earlier_version / "checkpoints" / "ckpt-2.data-00000-of-00001"
    flip(data, 20)
    at, _, checkpoints = restored(earlier_version)
    assert at == 1
    assert "Checksum does not match" in checkpoints.passed_over[0]


def test_notes_are_kept_with_the_checkpoint(tmp_path):
    step, state = variables()
    Checkpoints(tmp_path, state, step, keep=3).save(notes={"rows": [1, None]})
    assert restored(tmp_path)[1].notes == {"rows": [1, None]}


def test_other_workers_save_beside_the_first(tmp_path):
    for worker in (0, 1):
        step, state = variables()
        save(Checkpoints(tmp_path, state, step, keep=3, worker=worker), step, state, 5)
    assert files(tmp_path / "workers" / "1" / "checkpoints") == ["ckpt-5.index"]
    step, state = variables()
    second = Checkpoints(tmp_path, state, step, keep=3, worker=1)
    assert second.restore().path == tmp_path / "checkpoints" / "ckpt-5"


def test_a_full_disk_leaves_the_previous_one(tmp_path):
    step = tf.Variable(0, dtype=tf.int64, name="step")
    weights = keras.Variable(np.zeros(100_000), name="w")
    checkpoints = Checkpoints(tmp_path, {"model": [weights, step]}, step, keep=1)
    step.assign(7)
    checkpoints.save()
    step.assign(8)
    with full_disk(200_000), pytest.raises(CheckpointError, match="cannot be written") as error:
        checkpoints.save()
    assert f"The last good one is {tmp_path}/checkpoints/ckpt-7." in str(error.value)
    assert "Free some disk space" in str(error.value)
    assert checkpoints.restore()
    assert int(step) == 7
    left = {path.name.split(".")[0] for path in (tmp_path / "checkpoints").iterdir()}
    assert left == {"ckpt-7"}
