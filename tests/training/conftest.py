"""What tests of training share."""

import pytest


@pytest.fixture(scope="module")
def digits():
    from training.data import load_data

    return load_data("digits", input_size=(32, 32))
