"""What the tests of converters share."""

import os
from pathlib import Path

import pytest

from tests.support.artefacts import Artefacts
from tests.support.shared_folder import SHARED_FOLDER


@pytest.fixture(scope="session")
def artefacts():
    """One network in every format, made once for all processes of a run of tests."""
    return Artefacts(Path(os.environ[SHARED_FOLDER]) / "artefacts")
