"""One exported version for the tests of this folder, and TensorFlow Serving's session of it."""

import pytest

from tests.support.serving.export_serving import shared_export, shared_session


@pytest.fixture(scope="module")
def exported():
    return shared_export()


@pytest.fixture(scope="module")
def session():
    return shared_session()
