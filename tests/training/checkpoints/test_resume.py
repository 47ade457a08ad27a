"""A run that is killed, and one that is asked to stop, go on as if nothing had happened."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from typing import NamedTuple

import numpy as np
import pytest

from tests import fault_injector
from tests.support.cases import long
from tests.support.training import workers
from training.config import load_config, override
from training.loop.session import Session, make_session
from training.run import load_config_data, prepare, train
from training.strategy import make_strategy


class Trained(NamedTuple):
    session: Session
    is_finished: bool


def train_here(folder, settings=workers.RANDOM):
    """What the command does before it exports, in this process."""
    config = override(load_config("digits"), settings)
    session = make_session(config, load_config_data(config), make_strategy("default"))
    folder.mkdir(exist_ok=True)
    return Trained(session, train(session, folder, prepare(session, folder)))


def assert_same_run(folder, reference):
    assert workers.rows(folder) == workers.rows(reference)
    found, expected = workers.checkpoint(folder), workers.checkpoint(reference)
    assert set(found) == set(expected)
    for group in ("model/", "optimizer/", "ema/", "loop/"):
        assert any(name.startswith(group) for name in expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@contextlib.contextmanager
def sigterm_when(condition):
    """Sends SIGTERM to this process as soon as a condition holds."""

    def watch():
        while not condition():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield
    thread.join(workers.DEADLINE)


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_from_its_folder_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("training.run.learning_curve", lambda *_: None)  # whose drawing takes long
    session = fault_injector.make_interruptible((*fault_injector.SETTINGS, "variant=LeViTTiny"))
    variables = [variable for group in session.state.values() for variable in group]
    initial = [np.array(variable) for variable in variables]

    def begin_with(values):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def train_in(folder):
        folder.mkdir(exist_ok=True)
        return train(session, folder, prepare(session, folder))

    broken, whole = tmp_path / "broken", tmp_path / "whole"
    with sigterm_when(workers.has_checkpoint(broken, 2)):
        assert not train_in(broken)
    printed = capsys.readouterr().out
    assert "stopped by SIGTERM after step" in printed
    assert "The same command goes on from there, without --overwrite." in printed
    begin_with([np.ones_like(value) for value in initial])  # as a new process, which knows nothing
    assert train_in(broken)
    assert "goes on after step" in capsys.readouterr().out
    begin_with(initial)
    assert train_in(whole)
    assert_same_run(broken, whole)


@pytest.mark.slow
def test_a_run_that_was_killed_and_stopped_equals_one_that_was_not(tmp_path, capsys):
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    process = workers.start(broken)
    workers.wait_for(workers.has_checkpoint(broken, 4), process)
    process.kill()
    process.communicate()
    assert not (broken / "checkpoints" / "ckpt-28.index").exists()

    with sigterm_when(workers.has_checkpoint(broken, 16)):
        assert not train_here(broken).is_finished
    printed = capsys.readouterr().out
    assert "goes on after step" in printed
    assert "stopped by SIGTERM after step" in printed
    assert "The same command goes on from there, without --overwrite." in printed

    assert train_here(broken).is_finished
    assert train_here(whole).is_finished
    assert_same_run(broken, whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGTERM, "SIGTERM"), long(signal.SIGINT, "Ctrl-C")]
)
def test_the_command_that_is_asked_to_stop_succeeds_and_says_how_to_go_on(tmp_path, number, name):
    folder = tmp_path / "a run's folder"
    process = workers.start(folder, workers.RANDOM, "--overwrite")
    workers.wait_for(workers.has_checkpoint(folder, 4), process)
    process.send_signal(number)
    result = workers.finish(process)
    assert result.returncode == 0, result.stderr
    assert f"stopped by {name} after step" in result.stdout
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("Go on with: "))
    assert "--overwrite" not in line
    command = line.removeprefix("Go on with: ")
    result = subprocess.run(
        command, shell=True, capture_output=True, text=True, check=True, env=workers.ENVIRONMENT
    )
    assert "goes on after step" in result.stdout
    assert (folder / "final.keras").exists()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", long("float16")])
def test_half_precision_goes_on_exactly_and_learns(tmp_path, precision):
    settings = (*workers.RANDOM, f"precision={precision}")
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    process = workers.start(stopped, settings)
    workers.wait_for(workers.has_checkpoint(stopped, 12), process)
    process.terminate()
    assert workers.finish(process).returncode == 0
    train_here(stopped, settings)
    session = train_here(whole, settings).session
    assert_same_run(stopped, whole)
    log = workers.rows(whole)
    assert log[-1]["loss"] < log[0]["loss"]
    assert {v.dtype for v in session.model.trainable_variables} == {"float32"}
