"""A browser without a window, for the tests of pages."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def running_browser(folder: Path) -> Iterator:
    """Chromium by selenium, with a camera that is none.

    Args:
      folder: for its settings and its cache.

    Raises:
      FileNotFoundError: chromium or chromedriver is not installed.
    """
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        raise FileNotFoundError("needs the programs chromium and chromedriver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "window-size=1000,900",
        "use-fake-device-for-media-stream",
        "use-fake-ui-for-media-stream",
        f"user-data-dir={folder}",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(driver)
    browser = webdriver.Chrome(options, service)
    try:
        yield browser
    finally:
        browser.quit()


def complaints(browser):
    """What the browser itself found wrong: violations of the policy, missing files."""
    return [entry["message"] for entry in browser.get_log("browser")]
