"""The web page: its files and headers, and, marked slow, what it does in a real browser."""

import contextlib
import http.server
import io
import json
import re
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import serving
from serving.server.rest.rest import RestOptions
from tests.support.browser import complaints
from tests.support.serving.serving_rest_cases import CLASS_NAMES, FakeBackend, call, rest_server

WEB = Path(serving.__file__).parent / "web"
LIMIT = 40_000  # bytes of a request


class ImageBackend(FakeBackend):
    """Classifies images by the default signature, as an exported model does."""

    def signature(self, spec):
        spec.signature_name = spec.signature_name or "images"
        return super().signature(spec)


@pytest.fixture(scope="module")
def port():
    options = RestOptions(max_body_bytes=LIMIT, model_names=lambda: ["m"])
    with rest_server(ImageBackend(), options) as port:
        yield port


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html"),
        ("/index.html", "text/html"),
        ("/?model=m&server=x", "text/html"),
        ("/style.css", "text/css"),
        ("/classify.js", "text/javascript"),
        ("/page.js", "text/javascript"),
        ("/icon.svg", "image/svg+xml"),
    ],
)
def test_every_file_is_served_under_a_strict_policy(port, path, content_type):
    status, headers, body = call(port, "GET", path)
    assert status == 200
    assert headers["Content-Type"].startswith(content_type)
    assert headers["X-Content-Type-Options"] == "nosniff"
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "connect-src 'self';" in policy
    assert body
    assert call(port, "HEAD", path)[0] == 200


def test_the_page_loads_nothing_from_elsewhere_and_has_no_inline_code():
    page = (WEB / "index.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all((WEB / source).is_file() for source in sources)
    assert not re.search(r"<style|style=|\son\w+=|<script(?! src)", page)
    script = (WEB / "classify.js").read_text() + (WEB / "page.js").read_text()
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\b", script)


def test_the_configuration_names_the_models_and_the_limit(port):
    status, headers, body = call(port, "GET", "/config.json")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == {"models": ["m"], "max_body_bytes": LIMIT}


def test_other_files_are_not_served(port):
    for path in ("/../c_api.py", "/..%2fc_api.py", "/web/index.html", "/style.css/", "/%2e%2e/"):
        assert call(port, "GET", path)[0] == 404
    assert call(port, "POST", "/", "{}")[0] == 404


def test_the_page_can_be_switched_off():
    with rest_server(FakeBackend(), RestOptions(web_page=False)) as port:
        assert call(port, "GET", "/")[0] == 404
        assert call(port, "GET", "/config.json")[0] == 404


def photograph(height=120, width=160, format="JPEG"):
    """The content of an image file."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return file.getvalue()


def open_page(browser, port, query=""):
    browser.get_log("browser")  # forgets what earlier pages said
    browser.get(f"http://127.0.0.1:{port}/{query}")


def choose(browser, tmp_path, content, name="picture.jpg"):
    path = tmp_path / name
    path.write_bytes(content)
    browser.find_element("id", "file").send_keys(str(path))


def text_of(browser, element, timeout_s=15):
    """The text of an element as soon as it has one, and the page waits for nothing."""
    from selenium.webdriver.support.ui import WebDriverWait

    def settled(browser):
        busy = browser.find_element("id", "result").get_attribute("aria-busy")
        return busy == "false" and browser.find_element("id", element).text

    return WebDriverWait(browser, timeout_s).until(settled)


def rows_of(browser):
    return [row.text.splitlines() for row in browser.find_elements("css selector", "#classes li")]


EXPECTED = [
    [name.replace("_", " "), f"{share} %"]
    for name, share in zip(CLASS_NAMES, ["60.0", "20.0", "10.0", "6.0", "4.0"], strict=False)
]


@pytest.mark.slow
def test_a_picture_gets_five_rows_with_bars(browser, port, tmp_path):
    open_page(browser, port)
    choose(browser, tmp_path, photograph())
    assert re.fullmatch(r"Answered in \d+ ms; \d+\.\d KB were sent\.", text_of(browser, "status"))
    assert rows_of(browser) == EXPECTED  # one of the names would be markup if it were let
    widths = [bar.size["width"] for bar in browser.find_elements("class name", "bar")]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 5 * widths[4] > 0
    assert browser.find_element("id", "preview").is_displayed()
    assert not browser.find_element("id", "error").is_displayed()
    assert not complaints(browser)


@pytest.mark.slow
def test_errors_are_said_in_words_and_go_away(browser, port, tmp_path):
    open_page(browser, port)
    choose(browser, tmp_path, b"broken")
    assert text_of(browser, "error") == "The server says: Unknown image file format."
    assert not rows_of(browser)
    choose(browser, tmp_path, photograph())
    text_of(browser, "status")
    assert rows_of(browser) == EXPECTED
    assert not browser.find_element("id", "error").is_displayed()


@pytest.mark.slow
def test_an_unknown_model_is_named(browser, port, tmp_path):
    open_page(browser, port, "?model=other")
    choose(browser, tmp_path, photograph())
    assert text_of(browser, "error") == (
        "The server says: Servable not found for request: Latest(other)"
    )


@pytest.mark.slow
def test_pictures_beyond_the_limit_or_of_other_formats_are_reencoded(browser, port, tmp_path):
    open_page(browser, port)
    smooth = np.full((1200, 1600, 3), 200, np.uint8)
    file = io.BytesIO()
    Image.fromarray(smooth).save(file, "PNG", compress_level=0)
    choose(browser, tmp_path, file.getvalue(), "large.png")
    assert text_of(browser, "note").endswith("it has more than the 40.0 KB that the server takes.")
    assert rows_of(browser) == EXPECTED
    choose(browser, tmp_path, photograph(format="WEBP"), "picture.webp")
    text_of(browser, "status")
    assert text_of(browser, "note").endswith("the server does not read WEBP.")
    assert rows_of(browser) == EXPECTED
    assert not complaints(browser)


@pytest.mark.slow
def test_the_camera_takes_a_picture(browser, port):
    open_page(browser, port)
    browser.find_element("id", "camera").click()
    shoot = browser.find_element("id", "shoot")
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 10).until(lambda _: shoot.is_displayed())
    shoot.click()
    text_of(browser, "status")
    assert rows_of(browser) == EXPECTED
    assert not browser.find_element("id", "video").is_displayed()
    assert not complaints(browser)


@contextlib.contextmanager
def static_files():
    """The files of the page on an ordinary web server; yields its port."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=WEB)
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_static_files_ask_for_server_and_model(browser, port, tmp_path):
    with static_files() as static:
        open_page(browser, static)
        choose(browser, tmp_path, photograph())
        assert text_of(browser, "error") == "Enter the name of the model."
        open_page(browser, static, f"?server=http://127.0.0.1:{port}&model=m")
        assert browser.find_element("id", "server").is_displayed()
        choose(browser, tmp_path, photograph())
        # The server lets no other origin in, and the page says which flag does.
        assert "--rest_api_enable_cors_support" in text_of(browser, "error")


@pytest.mark.slow
def test_the_page_fits_a_phone(browser, port, tmp_path):
    try:
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True},
        )
        open_page(browser, port)
        choose(browser, tmp_path, photograph())
        text_of(browser, "status")
        width = browser.execute_script("return document.documentElement.scrollWidth")
        assert width == 360
        buttons = browser.find_elements("css selector", ".button")
        assert all(b.size["height"] >= 44 for b in buttons if b.is_displayed())
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
