"""What tests of several pages share."""

import pytest

from tests.support.browser import running_browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    try:
        with running_browser(tmp_path_factory.mktemp("chromium")) as browser:
            yield browser
    except FileNotFoundError as error:
        pytest.skip(str(error))
