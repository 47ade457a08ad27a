"""What all tests share: quiet backends, fixed seeds, a folder for what is made once a run."""

import os
import shutil
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import pytest

from tests.support.shared_folder import SHARED_FOLDER


def pytest_configure(config):
    """Makes the folder; processes that run tests in parallel begin later and know it, too."""
    if SHARED_FOLDER not in os.environ:
        os.environ[SHARED_FOLDER] = tempfile.mkdtemp(prefix="levit-tests-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ[SHARED_FOLDER], ignore_errors=True))


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)
