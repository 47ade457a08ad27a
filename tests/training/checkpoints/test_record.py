"""What a run was made of is checked when it goes on, and what differs is named."""

import contextlib
import json
import shutil

import pytest
import tensorflow as tf

from levit_tf.pictures.run_pictures import PICTURES_FILE
from tests.fault_injector import contents, difference
from tests.support.training.data_cases import encoded, picture, write_folder
from tests.support.training.tiny_session import Killed, TinySession
from training.checkpoints import folder as run_folder
from training.checkpoints import record
from training.checkpoints.checkpoint import Checkpoints
from training.config import load_config, override
from training.data import load_data
from training.networks.named import find_networks
from training.optim.variables import raw, unique_name
from training.run import prepare, train


@pytest.fixture
def pictures(tmp_path):
    return write_folder(tmp_path / "pictures", 20, parts=("train", "test"))


@pytest.fixture
def session(pictures):
    """Makes a session with what is in the folder now."""

    def make(folder=pictures, settings=()):
        dataset = f"imagefolder:{folder}"
        made = TinySession(settings=(f"dataset={dataset}", *settings))
        made.data = load_data(dataset, input_size=(2, 2))
        return made

    return make


@pytest.fixture
def run(tmp_path, session):
    """The folder of a run that was killed after it had saved a few steps."""
    folder = tmp_path / "run"
    folder.mkdir()
    stopped = session()
    stopped.kept["killed_after"] = 7
    with pytest.raises(Killed):
        train(stopped, folder, prepare(stopped, folder))
    return folder


def refusal(session, run, **options):
    """What a run that is refused says; nothing in its folder may change."""
    before = contents(run)
    with pytest.raises(FileExistsError) as error:
        prepare(session, run, **options)
    assert contents(run) == before
    text = str(error.value)
    assert "\n" not in text
    return text


def test_the_same_pictures_go_on(session, run):
    assert train(session(), run, prepare(session(), run))


@pytest.mark.parametrize("is_relative", [False, True])
def test_the_same_pictures_under_another_path_go_on(
    session, run, pictures, is_relative, monkeypatch, capsys
):
    moved = pictures.rename(pictures.with_name("moved"))
    if is_relative:
        monkeypatch.chdir(moved.parent)
        moved = moved.relative_to(moved.parent)
    prepare(session(moved), run)
    assert f"and is 'imagefolder:{moved}' now." in capsys.readouterr().out
    (moved / "train" / "bee" / "00.jpg").unlink()
    assert "training: of 60 pictures 1 gone" in refusal(session(moved), run)


def test_pictures_of_another_kind_of_data_set_are_refused(session, run):
    other = session()
    other.config = override(other.config, ("dataset=digits",))
    assert "dataset is 'imagefolder:" in refusal(other, run)


def test_pictures_that_are_gone_or_new_are_named(session, run, pictures):
    for n in range(5):
        (pictures / "train" / "bee" / f"{n:02}.jpg").unlink()
    for n in range(3):
        (pictures / "train" / "cat" / f"new{n}.jpg").write_bytes(encoded(picture(n)))
    text = refusal(session(), run)
    assert (
        "training: of 60 pictures 5 gone (train/bee/00.jpg, train/bee/01.jpg, train/bee/02.jpg, "
        "...), 3 new (train/cat/new0.jpg, train/cat/new1.jpg, train/cat/new2.jpg)"
    ) in text
    assert "held-out" not in text
    assert f"--set=init_from={run}/best.keras" in text
    assert "--changed_pictures goes on with those that are there now" in text


def test_a_picture_of_another_size_is_named(session, run, pictures):
    (pictures / "test" / "ant" / "03.jpg").write_bytes(encoded(picture(77)))
    text = refusal(session(), run)
    assert "held-out: of 60 pictures 1 of another size (test/ant/03.jpg)" in text


def test_class_folders_that_swap_their_names_are_noticed(session, run, pictures):
    for part in ("train", "test"):
        for old, new in (("ant", "x"), ("bee", "ant"), ("x", "bee")):
            (pictures / part / old).rename(pictures / part / new)
    assert "training: of 60 pictures 40 of another size (train/ant/00.jpg" in refusal(
        session(), run
    )


def test_a_class_folder_with_another_name_is_named(session, run, pictures):
    for part in ("train", "test"):
        (pictures / part / "ant").rename(pictures / part / "zebra")
    text = refusal(session(), run)
    assert "other classes: 3 there and 3 here, 1 gone ('ant'), 1 new ('zebra')" in text
    assert "--changed_pictures" not in text  # the labels would mean something else


def test_a_class_more_is_named(session, run, pictures):
    for part in ("train", "test"):
        shutil.copytree(pictures / part / "ant", pictures / part / "dog")
    text = refusal(session(), run, changed_pictures=True)
    assert "other classes: 3 there and 4 here, 1 new ('dog')" in text


def test_changed_pictures_go_on_where_that_is_wished(session, run, pictures, capsys):
    (pictures / "train" / "bee" / "00.jpg").unlink()
    assert train(session(), run, prepare(session(), run, changed_pictures=True))
    assert "Other pictures than before, as --changed_pictures allows: training" in (
        capsys.readouterr().out
    )
    prepare(session(), run)  # they are those of the run now


def test_another_number_of_steps_cannot_go_on(session, run, pictures):
    (pictures / "train" / "bee" / "00.jpg").unlink()
    made = record.make_record(session().config, session().data, steps_per_epoch=4)
    with pytest.raises(FileExistsError, match="had 5 steps and would have 4"):
        run_folder.prepare(run, made, changed_pictures=True)


def test_without_the_list_of_files_the_numbers_are_said(session, run, pictures):
    (run / PICTURES_FILE).write_bytes(b"\x1f\x8bgarbage")
    (pictures / "train" / "bee" / "00.jpg").unlink()
    text = refusal(session(), run)
    assert "training: 60 pictures before, 59 now, not the same" in text


def test_other_versions_are_said_and_go_on(session, run, monkeypatch, capsys):
    monkeypatch.setattr("keras.__version__", "99.0")
    prepare(session(), run)
    assert "keras was 3." in (out := capsys.readouterr().out)
    assert "when this run began and is 99.0 now" in out


def test_a_damaged_configuration_is_made_again_from_the_newest_checkpoint(session, run):
    path = run / record.CONFIG_FILE
    before = path.read_text()
    for content in ("[]", "{", '{"a": 1}', before.replace('"seed": 0', '"seed": 1')):
        path.write_text(content)
        stopped = session()
        stopped.kept["killed_after"] = 7
        with pytest.raises(Killed):
            train(stopped, run, prepare(stopped, run))
        assert path.read_text() == before


def test_another_teacher_under_the_same_name_is_refused(tmp_path, session):
    run, teacher = tmp_path / "run", tmp_path / "t.keras"
    run.mkdir()
    teacher.write_bytes(b"one")
    settings = ("distillation=soft", f"teacher={teacher}")
    stopped = session(settings=settings)
    stopped.kept["killed_after"] = 7
    with pytest.raises(Killed):
        train(stopped, run, prepare(stopped, run))
    prepare(session(settings=settings), run)
    teacher.write_bytes(b"another")
    text = refusal(session(settings=settings), run)
    assert f"began with other contents of teacher={teacher}" in text


def test_a_record_without_digests_takes_any_file(session, run):
    made = record.make_record(session().config, session().data, 5, digests={"teacher": "0"})
    assert run_folder.prepare(run, made).record.digests == {"teacher": "0"}


@pytest.mark.parametrize(
    ("settings", "fields"),
    [
        (("qat=int8",), {"init_from"}),
        (("exits=0:pool",), {"init_from"}),
        (("exits=0:pool", "exits_end_to_end=true"), set()),
        ((), set()),
    ],
)
def test_an_initial_network_that_stays_in_use_is_recorded(tmp_path, settings, fields):
    path = tmp_path / "a.keras"
    path.write_bytes(b"a network")
    config = override(load_config("digits"), (f"init_from={path}", *settings))
    assert set(find_networks(config).digests(config)) == fields


def test_every_attempt_is_recorded(session, run):
    (run / "checkpoints" / "ckpt-6.index").unlink()
    train(session(), run, prepare(session(), run))
    first, second = json.loads((run / record.RUN_FILE).read_text())["attempts"]
    assert (first["began_after_step"], first["checkpoint"]) == (0, None)
    assert (second["began_after_step"], second["checkpoint"]) == (5, "ckpt-5")
    (passed_over,) = second["passed_over"]
    assert passed_over.endswith("ckpt-6: ckpt-6.index is missing")
    assert set(first["versions"]) == {"levit_tf", "tensorflow", "keras", "numpy"}


def test_a_run_of_an_earlier_version_goes_on_and_ends_the_same(tmp_path, capsys):
    whole, run = tmp_path / "whole", tmp_path / "run"
    for folder, killed_after in ((whole, None), (run, 7)):
        folder.mkdir()
        session = TinySession()
        session.kept["killed_after"] = killed_after
        with contextlib.suppress(Killed):
            train(session, folder, prepare(session, folder))
    # Its checkpoints were TensorFlow's, without manifests and without what came later.
    session = TinySession()
    Checkpoints(run, session.state, session.optimizer.iterations, keep=3).restore()
    shutil.rmtree(run / "checkpoints")
    groups = {**session.state, "loop": [session.epoch_loss]}
    named = {
        group: {unique_name(variable): raw(variable) for variable in variables}
        for group, variables in groups.items()
    }
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(**named), str(run / "checkpoints"), max_to_keep=3
    )
    manager.save(checkpoint_number=session.step)
    (run / "run.json").unlink()
    lines = (run / "log.csv").read_text().splitlines()
    (run / "log.csv").write_text("".join(f"{line.rsplit(',', 2)[0]}\n" for line in lines))
    session = TinySession()
    train(session, run, prepare(session, run))
    assert difference(run, whole) == ""
    printed = capsys.readouterr().out
    assert "This run is of an earlier version, which did not note its pictures." in printed
    assert "checkpoints/ckpt-6 (it carries no checksums; all of it could be read)" in printed
