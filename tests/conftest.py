"""What all tests share: quiet backends, fixed seeds, a folder for what is made once a run."""

import gc
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# PyTorch's threads wait for each other by spinning: on busy cores that takes three times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from tests.support import commands
from tests.support.cases import slow
from tests.support.session import until_the_end
from tests.support.shared_folder import SHARED_FOLDER


def pytest_configure(config):
    """Makes the folder; processes that run tests in parallel begin later and know it, too."""
    # To look for cycles among the many objects of TensorFlow would take a tenth of the time.
    gc.set_threshold(20_000, 20, 20)
    if SHARED_FOLDER not in os.environ:
        os.environ[SHARED_FOLDER] = tempfile.mkdtemp(prefix="levit-tests-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ[SHARED_FOLDER], ignore_errors=True))


def pytest_sessionfinish():
    until_the_end.close()


@pytest.fixture(autouse=True)
def _seed():
    import keras  # not at the top: the process that hands out tests needs none, and all wait for it

    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def artefacts():
    """One network in every format, made once for all processes of a run of tests."""
    from tests.support.artefacts import Artefacts

    return Artefacts(Path(os.environ[SHARED_FOLDER]) / "artefacts")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A server on this machine that is asked in place of the Hugging Face hub."""
    from tests.support.hub_server import local_hub

    with local_hub(monkeypatch, tmp_path) as server:
        yield server


@pytest.fixture(params=["here", slow("process")])
def run_command(request, capsys):
    """Runs a command by the name of its module; slow is to start a process for it, as users do."""

    def run(name, *arguments):
        if request.param == "process":
            return commands.run_process(name, *arguments)
        status = commands.call(commands.command_module(name), arguments)
        return subprocess.CompletedProcess(name, status, *capsys.readouterr())

    return run
