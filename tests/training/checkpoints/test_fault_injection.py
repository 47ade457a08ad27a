"""No single damaged, cut off, empty or missing file of a run costs it."""

import contextlib
import ctypes
import itertools
import json
import os
import shutil
import subprocess
import sys
import textwrap

import pytest

from tests import fault_injector, fuzz_checkpoints
from tests.support.cases import slow, some_slow
from tests.support.training import workers
from tests.support.training.tiny_session import Killed, TinySession
from training import run
from training.checkpoints.checkpoint import CheckpointError

# Rounds of `fuzz_checkpoints` that once found something.
FOUND = [6, 88, 147, 264, 592]


def check_tiny(folder, killed_after, best, kinds):
    report = fault_injector.run_all(TinySession(), folder, killed_after, kinds=kinds)
    damaged = {name for name, _ in report.equal}
    assert damaged >= {
        *("config.json", "run.json", "log.json", "log.csv", "best.keras"),
        *("checkpoints/ckpt-8.index", "checkpoints/ckpt-8.json"),
        f"checkpoints/best/ckpt-{best}.json",
    }
    assert not report.lost, str(report)
    assert not report.stopped, str(report)


@pytest.mark.slow
def test_a_run_with_any_file_damaged_ends_as_the_undisturbed_one(tmp_path):
    check_tiny(tmp_path, 9, 5, ("cut off",))


@pytest.mark.slow
@pytest.mark.parametrize(("killed_after", "best"), [(9, 5), (11, 10)])
def test_so_it_is_whatever_the_damage_and_whichever_is_the_best(tmp_path, killed_after, best):
    check_tiny(tmp_path, killed_after, best, tuple(fault_injector.DAMAGES))


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_change_of_its_folder_ends_as_the_undisturbed_one(tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for folder, killed_after in ((whole, None), (stopped, 9)):
        folder.mkdir()
        session = TinySession()
        session.kept["killed_after"] = killed_after
        with contextlib.suppress(Killed):
            run.train(session, folder, run.prepare(session, folder))
    changes = {name: getattr(os, name) for name in ("replace", "unlink", "fsync", "mkdir")}
    for last in itertools.count():
        left = iter(range(last))

        def counted(name, left=left):
            def change(*args, **kwargs):
                if next(left, None) is None:
                    raise Killed
                return changes[name](*args, **kwargs)

            return change

        folder = tmp_path / "run"
        shutil.copytree(stopped, folder)
        killed = True
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
            for name in changes:
                patch.setattr(os, name, counted(name))
            run.train(TinySession(), folder, run.prepare(TinySession(), folder))
            killed = False
        run.train(TinySession(), folder, run.prepare(TinySession(), folder))
        assert fault_injector.difference(folder, whole) == "", last
        shutil.rmtree(folder)
        if not killed:
            break
    assert last > 50


def test_a_run_whose_only_checkpoint_is_damaged_stops_and_changes_nothing(tmp_path):
    report = fault_injector.run_all(TinySession(), tmp_path, 3, "checkpoints/ckpt*")
    assert not report.lost, str(report)
    assert {name for name, _, _ in report.stopped} == {
        "checkpoints/ckpt-2.index",
        "checkpoints/ckpt-2.data-00000-of-00001",
    }
    for _, _, text in report.stopped:
        assert "none of the checkpoints there can be used" in text
        assert "--overwrite" in text


@pytest.fixture
def runs(tmp_path):
    """Folders of the undisturbed run and of one that was stopped after step 13, best at 10."""
    folders = tmp_path / "whole" / "run", tmp_path / "stopped" / "run"
    for folder, killed_after in zip(folders, (None, 13), strict=True):
        folder.mkdir(parents=True)
        with contextlib.suppress(Killed):
            fuzz_checkpoints.go_on(folder, killed_after)
    return folders


def test_a_log_that_is_lost_everywhere_is_that_of_an_older_checkpoint(runs, capsys):
    whole, stopped = runs
    (stopped / "log.json").write_text("{")
    (stopped / "log.csv").unlink()
    (stopped / "checkpoints" / "ckpt-12.json").unlink()
    fuzz_checkpoints.go_on(stopped)
    assert fault_injector.difference(stopped, whole) == ""
    assert f"passed over: {stopped}/checkpoints/ckpt-12: it carries" in capsys.readouterr().out


@pytest.mark.parametrize("file", ["log.csv", slow("log.json")])
def test_a_log_that_may_be_wrong_is_not_gone_on_with(runs, file):
    whole, stopped = runs
    for path in stopped.glob("checkpoints/**/*.json"):
        path.unlink()
    log, after_first_epoch = stopped / file, stopped.parent / "other" / "run"
    intact = log.read_text()
    log.write_text(intact.replace("0.25", "0.15"))  # the score of the first epoch
    before = fault_injector.contents(stopped)
    with pytest.raises(CheckpointError, match=r"log\.json and log\.csv do not both have the 1 epo"):
        fuzz_checkpoints.go_on(stopped)
    assert fault_injector.contents(stopped) == before
    shutil.copytree(stopped, after_first_epoch)
    (after_first_epoch / file).write_text(intact.replace("0.75", "0.35"))  # of the second
    fuzz_checkpoints.go_on(after_first_epoch)
    assert fault_injector.difference(after_first_epoch, whole) == ""


def test_a_best_network_of_another_time_is_made_again(runs):
    whole, stopped = runs
    other = stopped.parent / "other"
    other.mkdir()
    with contextlib.suppress(Killed):
        fuzz_checkpoints.go_on(other, 9)
    shutil.copyfile(other / "best.keras", stopped / "best.keras")
    fuzz_checkpoints.go_on(stopped)
    assert fault_injector.difference(stopped, whole) == ""


def test_where_the_first_best_network_is_lost_the_run_goes_back_before_it(runs):
    whole = runs[0]
    stopped = whole.parents[1] / "other" / "run"
    stopped.mkdir(parents=True)
    with contextlib.suppress(Killed):
        fuzz_checkpoints.go_on(stopped, 7)
    (stopped / "best.keras").unlink()
    for path in stopped.glob("checkpoints/**/ckpt-5.*"):
        path.write_bytes(b"")
    fuzz_checkpoints.go_on(stopped)
    assert fault_injector.difference(stopped, whole) == ""


def test_where_the_best_network_is_lost_for_good_the_run_stops_until_that_is_wanted(runs, capsys):
    whole, stopped = runs
    (stopped / "best.keras").write_bytes(b"")
    for step in (8, 10):
        for path in stopped.glob(f"checkpoints/**/ckpt-{step}.index"):
            path.unlink()
    before = fault_injector.contents(stopped)
    with pytest.raises(CheckpointError, match=r"best network until then, of step 10, is lost"):
        fuzz_checkpoints.go_on(stopped)
    assert fault_injector.contents(stopped) == before
    (stopped / "best.keras").unlink()
    shutil.rmtree(stopped / "checkpoints" / "best")
    fuzz_checkpoints.go_on(stopped)
    assert f"{stopped}/best.keras is lost; the run goes on without" in capsys.readouterr().out
    assert workers.rows(stopped) == workers.rows(whole)


@pytest.mark.parametrize(
    "content",
    some_slow(
        [{"attempts": 7}, {"attempts": [1]}, {"class_names": 1}, {"pictures": {"training": 7}}],
        fast=[{"attempts": [1]}],
    ),
)
def test_a_record_of_other_types_is_as_good_as_none(runs, content):
    whole, stopped = runs
    (stopped / "run.json").write_text(json.dumps(content))
    fuzz_checkpoints.go_on(stopped)
    assert fault_injector.difference(stopped, whole) == ""


@pytest.mark.slow
def test_runs_with_several_files_damaged_go_on_or_stop(tmp_path):
    runs = fuzz_checkpoints.Runs(tmp_path / "runs")
    found = {n: runs.round(n, tmp_path / "kept") for n in (*range(60), *FOUND)}
    wrong = {fuzz_checkpoints.EQUAL, fuzz_checkpoints.STOPPED} ^ set(found.values())
    assert not wrong, found


# Runs of a few numbers in a process, that says why they end.
ATTEMPTS = """
    import resource, sys
    from pathlib import Path
    from tests.support.training.tiny_session import Killed, TinySession
    from training.checkpoints import folder as run_folder
    from training import run

    run.learning_curve = lambda *_: None
    FREE = resource.getrlimit(resource.RLIMIT_FSIZE)

    class Limited(TinySession):
        full_after = None

        def train_step(self):
            step = super().train_step()

            def limited(*batch):
                if self.step == self.full_after:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, FREE[1]))
                return step(*batch)

            return limited

    def attempt(folder, **options):
        session = Limited(size=1000)
        vars(session).update(options)
        try:
            with run_folder.locked(folder):
                run.train(session, folder, run.prepare(session, folder))
        except (OSError, ValueError) as error:  # what `levit_common.cli` takes for a user's error
            print("error:", error, file=sys.stderr)
        except Killed:
            pass
        resource.setrlimit(resource.RLIMIT_FSIZE, FREE)

    folder = Path(sys.argv[1])
    attempt(folder / "whole")
    # In an epoch; at an end where the log, the best network or TensorBoard's file is too long.
    for number, (after, limit) in enumerate([(6, 1), (9, 1), (9, 5000), (14, 400)]):
        attempt(folder / str(number), full_after=after, limit=limit)
        attempt(folder / str(number))
    for name in ("run", "run/checkpoints", "run/tensorboard", "run/checkpoints/best"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name).chmod(0o555)
        attempt(folder / "run")
        (folder / name).chmod(0o755)
        attempt(folder / "run", kept={"killed_after": 3})
    attempt(folder / "run")
"""


def without_privileges():
    """Has permissions hold for root as well, whom they do not keep from writing otherwise."""
    drop_from_bounding_set, override = 24, 1
    ctypes.CDLL(None).prctl(drop_from_bounding_set, override, 0, 0, 0)


@pytest.fixture(scope="module")
def attempts(tmp_path_factory):
    """The folder of the process that makes all attempts, and its errors."""
    folder = tmp_path_factory.mktemp("attempts")
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ATTEMPTS), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=without_privileges,
    )
    assert result.returncode == 0, result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 8, errors
    return folder, errors


@pytest.mark.slow
def test_a_full_disk_ends_a_run_with_the_name_of_the_file_and_it_goes_on_later(attempts):
    folder, errors = attempts
    assert f"A checkpoint cannot be written to {folder}/0/checkpoints. The last good" in errors[0]
    assert f"{folder}/1/log.csv: cannot be written: File too large." in errors[1]
    assert f"{folder}/2/best.keras: cannot be written: File too large." in errors[2]
    assert f"{folder}/3/" in errors[3]
    for number in range(4):
        assert fault_injector.difference(folder / str(number), folder / "whole") == ""
        assert not list((folder / str(number)).glob(".*"))


@pytest.mark.slow
def test_a_folder_that_may_not_be_written_ends_a_run_with_one_line(attempts):
    folder, errors = attempts
    named = ("run/run.lock", "run/checkpoints", "run/tensorboard", "run/checkpoints/best")
    for error, name in zip(errors[4:], named, strict=True):
        assert f"{folder}/{name}" in error
    assert fault_injector.difference(folder / "run", folder / "whole") == ""


@pytest.mark.slow
@pytest.mark.long
def test_a_run_of_a_real_network_with_any_file_damaged_ends_as_the_undisturbed_one(tmp_path):
    report = fault_injector.run_all(fault_injector.make_interruptible(), tmp_path)
    print(report)
    assert len({name for name, _ in report.equal}) >= 15
    assert not report.lost, str(report)
    assert not report.stopped, str(report)
