"""The static page answers in a browser what Keras answers, also without a network."""

import base64
import hashlib
import io
import json
import re
import socket

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import levit_tf
from converters.dynamic.conversion import to_dynamic
from converters.dynamic.paths import forcing
from converters.dynamic.recalibration import set_by_hand
from converters.dynamic.running import open_dynamic
from levit_common.shipped_names import INPUT, LOGITS, PROBABILITIES, SIGNATURE
from levit_lite.images import load_cropped
from levit_tf.pictures.labelled_pictures import labelled_pictures
from levit_tf.prediction.predictor import load_predictor
from serving.web_app import __main__ as command
from serving.web_app.packages import LITERT, WASM_UTILS, Package, archive_of
from serving.web_app.site import write_site
from tests.support.artefacts import NAMES
from tests.support.browser import complaints
from tests.support.cases import slow
from tests.support.commands import call
from tests.support.randomize import randomize_keras, with_random_exits
from tests.support.static_server import ASK, static_server


@pytest.fixture(scope="module")
def packages():
    try:
        for package in (LITERT, WASM_UTILS):
            archive_of(package)
    except (OSError, ValueError) as error:
        pytest.skip(str(error))


def photographs(count):
    """JPEG and PNG files of many sizes, some of them turned by their EXIF orientation."""
    rng = np.random.default_rng(0)
    for n in range(count):
        coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        size = (int(rng.integers(40, 300)), int(rng.integers(40, 300)))
        image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        file = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6 if n % 5 == 0 else 1
        image.save(file, "PNG" if n % 3 == 0 else "JPEG", quality=95, exif=exif)
        yield file.getvalue()


def test_nothing_in_the_folder_asks_for_anything_outside(artefacts, packages, tmp_path):
    write_site(artefacts["fp32.tflite"], tmp_path / "site")
    page = (tmp_path / "site/index.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all((tmp_path / "site" / source).is_file() for source in sources)
    assert "connect-src 'self';" in page
    assert "unsafe-inline" not in page
    assert "server" not in page.lower().replace("observer", "")
    for name in ("app.js", "pixels.js", "page.js", "service-worker.js", "litert/index.js"):
        script = (tmp_path / "site" / name).read_text()
        imported = re.findall(r'^import .*?from "([^"]*)"', script, re.MULTILINE | re.DOTALL)
        for other in imported:
            assert (tmp_path / "site" / name).parent.joinpath(other).is_file(), (name, other)
    config = json.loads((tmp_path / "site/config.json").read_text())
    assert config["labels"] == list(NAMES)
    worker = (tmp_path / "site/service-worker.js").read_text()
    assert 'cache: "no-cache"' in worker  # "reload" would send each file twice
    listed = json.loads(re.search(r"const FILES = (\[.*\]);", worker)[1])
    on_disk = {
        p.relative_to(tmp_path / "site").as_posix() for p in (tmp_path / "site").rglob("*.*")
    }
    assert set(listed) == (on_disk | {"./"}) - {"service-worker.js"}


def test_a_package_of_other_content_is_refused(tmp_path):
    package = Package("@a/b", "1.0", base64.b64encode(hashlib.sha512(b"x").digest()).decode())
    (tmp_path / package.archive).write_bytes(b"x")
    assert archive_of(package, tmp_path).name == "a-b-1.0.tgz"
    (tmp_path / package.archive).write_bytes(b"y")
    with pytest.raises(ValueError, match=r"a-b-1.0.tgz: not @a/b 1.0: its SHA-512 is"):
        archive_of(package, tmp_path)


def test_without_npm_the_file_to_bring_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"npm.*is not installed.*npm pack @litertjs/core@"):
        archive_of(LITERT, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_leaves_no_folder(artefacts, tmp_path, capsys):
    (tmp_path / "there").mkdir()
    for arguments, message in (
        ([f"--model={tmp_path / 'gone.tflite'}", f"--output={tmp_path / 'a'}"], "no such file"),
        ([f"--model={artefacts['fp32.tflite']}", f"--output={tmp_path / 'there'}"], "exists alrea"),
        ([f"--model={artefacts['model.keras']}", f"--output={tmp_path / 'a'}"], "TFLite file"),
    ):
        assert call(command, arguments) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["fp32", "int8", slow("int8_full")])
def test_the_browser_answers_as_python_does(recipe, artefacts, packages, browser, tmp_path):
    model = artefacts[f"{recipe}.tflite"]
    write_site(model, tmp_path / "site")
    predictor = load_predictor(model)
    with static_server(tmp_path / "site") as address:
        browser.get(address)
        browser.set_script_timeout(60)
        for picture in photographs(20):
            found = browser.execute_async_script(ASK, base64.b64encode(picture).decode())
            assert "error" not in found, found
            image = load_cropped(picture, predictor.input_size)
            (expected,) = predictor.predict(image[None])
            np.testing.assert_allclose(
                found["scores"], expected, atol=0.02 if recipe == "fp32" else 0.06
            )
        assert complaints(browser) == []


@pytest.mark.slow
def test_the_exit_of_a_dynamic_file_is_the_one_of_python(packages, browser, tmp_path):
    names, size = ["ant", "bee", "cat"], (64, 64)
    model = levit_tf.LeViT("LeViTNano", classes=len(names), input_shape=size[0])
    randomize_keras(model)
    model = with_random_exits(levit_tf.with_properties(model, class_names=names))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 4, 4, 3), np.uint8).repeat(16, 1).repeat(16, 2)
    labels = model.predict(levit_tf.preprocess_input(images * 1.0), verbose=0)["head"].argmax(1)
    for n, (image, label) in enumerate(zip(images, labels, strict=True)):
        (tmp_path / "pictures" / names[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "pictures" / names[label] / f"{n}.png")
    to_dynamic(
        [model],
        tmp_path / "dynamic",
        pictures=labelled_pictures(tmp_path / "pictures", names, size),
        epsilon=0.6,
        delta=0.5,
        formats=("tflite",),
        recipes=("fp32",),
        class_names=names,
    )
    file = tmp_path / "dynamic/fp32.tflite"
    paths = sorted((tmp_path / "pictures").glob("*/*"))
    images = np.stack([load_cropped(path, size) for path in paths])
    opened = open_dynamic(file)
    forced = forcing(0, opened.steps)
    first = [opened.answer(image[None], forced).probabilities.max() for image in images]
    # So that a half leaves at the first exit.
    set_by_hand(file, [min(float(np.median(first)), 0.999), *[0.99] * (opened.steps - 2)])
    write_site(file, tmp_path / "site")
    scores, exits = load_predictor(file).predict_with_exits(images)
    chosen = [np.flatnonzero(exits == step)[:3] for step in np.unique(exits)]
    assert len(chosen) > 1
    with static_server(tmp_path / "site") as address:
        browser.get(address)
        browser.set_script_timeout(60)
        for n in np.concatenate(chosen):
            encoded = base64.b64encode(paths[n].read_bytes()).decode()
            found = browser.execute_async_script(ASK, encoded)
            assert found.get("exit") == exits[n], found
            np.testing.assert_allclose(found["scores"], scores[n], atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("output", [PROBABILITIES, LOGITS])
def test_a_single_output_is_that_of_the_second_of_two_classes(output, packages, browser, tmp_path):
    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), name=INPUT)])
    def brightness(images):
        logits = tf.reshape(tf.reduce_mean(images) / 64 - 2, (1, 1))
        return {output: tf.sigmoid(logits) if output == PROBABILITIES else logits}

    module = tf.Module()
    tf.saved_model.save(module, tmp_path / "saved", signatures={SIGNATURE: brightness})
    model = tmp_path / "model.tflite"
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"))
    model.write_bytes(converter.convert())
    (tmp_path / "labels.txt").write_text("dark\nbright\n")
    write_site(model, tmp_path / "site")
    with static_server(tmp_path / "site") as address:
        browser.get(address)
        browser.set_script_timeout(60)
        for level in (30, 200):
            picture = io.BytesIO()
            Image.new("RGB", (20, 20), (level,) * 3).save(picture, "PNG")
            encoded = base64.b64encode(picture.getvalue()).decode()
            found = browser.execute_async_script(ASK, encoded)
            bright = 1 / (1 + np.exp(2 - level / 64))
            np.testing.assert_allclose(found["scores"], [1 - bright, bright], atol=1e-5)


@pytest.mark.slow
def test_the_page_works_without_a_network_on_a_phones_screen(
    artefacts, packages, browser, tmp_path
):
    from selenium.webdriver.support.ui import WebDriverWait

    write_site(artefacts["fp32.tflite"], tmp_path / "site")
    (picture,) = photographs(1)
    (tmp_path / "picture.png").write_bytes(picture)
    browser.set_window_size(500, 800)
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wait = WebDriverWait(browser, 60)
    with static_server(tmp_path / "site") as address:
        browser.get(address)
        wait.until(lambda b: "is ready" in b.find_element("id", "status").text)
        browser.execute_async_script("navigator.serviceWorker.ready.then(arguments[0])")
        browser.execute_async_script(
            "const done = arguments[0];"
            "const look = () => navigator.serviceWorker.controller ? done() : setTimeout(look, 50);"
            "look();"
        )
    with pytest.raises(ConnectionRefusedError), socket.create_connection(_host(address), 1):
        pass
    browser.get_log("browser")
    browser.get(address)
    wait.until(lambda b: "is ready" in b.find_element("id", "status").text)
    browser.find_element("id", "file").send_keys(str(tmp_path / "picture.png"))
    wait.until(lambda b: "on this device" in b.find_element("id", "status").text)
    rows = browser.find_elements("css selector", "#classes li")
    assert len(rows) == 5
    assert browser.execute_script(
        "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    assert complaints(browser) == []
    (tmp_path / "no.png").write_bytes(b"no picture")
    browser.find_element("id", "file").send_keys(str(tmp_path / "no.png"))
    wait.until(lambda b: b.find_element("id", "error").text)
    assert "no picture that the browser can read" in browser.find_element("id", "error").text
    browser.find_element("id", "camera").click()
    wait.until(lambda b: "on this device" in b.find_element("id", "status").text)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


# Records a canvas for a moment, has the page play it, and shortly afterwards once more.
_TWO_VIDEOS = """
const done = arguments[0];
const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
const context = canvas.getContext("2d");
const recorder = new MediaRecorder(canvas.captureStream(20), { mimeType: "video/webm" });
const parts = [];
const drop = (blob) => {
  const files = new DataTransfer();
  files.items.add(new File([blob], "video.webm", { type: "video/webm" }));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer: files }));
};
recorder.ondataavailable = (event) => parts.push(event.data);
recorder.onstop = async () => {
  const blob = new Blob(parts, { type: "video/webm" });
  const video = document.getElementById("video");
  const error = document.getElementById("error");
  for (let n = 0; n < 2; n++) {
    const begun = new Promise((then) => (video.onplaying = then));
    drop(blob);
    await begun;
  }
  setTimeout(() => done([video.hasAttribute("src"), error.textContent]), 300);
};
recorder.start();
const drawing = setInterval(() => {
  context.fillStyle = `rgb(${Math.random() * 255}, 0, 0)`;
  context.fillRect(0, 0, 64, 64);
}, 50);
setTimeout(() => (clearInterval(drawing), recorder.stop()), 2000);
"""


@pytest.mark.slow
def test_a_video_is_played_on_though_it_took_the_place_of_another(
    artefacts, packages, browser, tmp_path
):
    write_site(artefacts["fp32.tflite"], tmp_path / "site")
    with static_server(tmp_path / "site") as address:
        browser.get(address)
        browser.set_script_timeout(60)
        assert browser.execute_async_script(_TWO_VIDEOS) == [True, ""]
        assert complaints(browser) == []


@pytest.mark.slow
def test_two_pages_of_one_address_leave_each_other_s_files(artefacts, packages, browser, tmp_path):
    pages = ("one", "two")
    with static_server(tmp_path) as address:
        for page in pages:
            write_site(artefacts["fp32.tflite"], tmp_path / page)
            browser.get(f"{address}{page}/")
            browser.set_script_timeout(60)
            browser.execute_async_script("navigator.serviceWorker.ready.then(arguments[0])")
        names = browser.execute_async_script("caches.keys().then(arguments[0])")
        browser.get("about:blank")
    assert [name.rpartition(" ")[0] for name in sorted(names)] == [
        f"levit {address}{page}/" for page in pages
    ]


def _host(address):
    match = re.match(r"http://([^:]+):(\d+)", address)
    return match[1], int(match[2])


@pytest.mark.slow
def test_a_network_that_the_browser_cannot_run_is_told(artefacts, packages, browser, tmp_path):
    from selenium.webdriver.support.ui import WebDriverWait

    write_site(artefacts["fp32.tflite"], tmp_path / "site")
    model = tmp_path / "site/model.tflite"
    model.write_bytes(model.read_bytes()[:2000])
    with static_server(tmp_path / "site") as address:
        browser.get(address)
        WebDriverWait(browser, 60).until(lambda b: b.find_element("id", "error").text)
        assert "cannot run the network" in browser.find_element("id", "error").text


def test_the_package_has_the_pages_files():
    from importlib.resources import files

    page = files("serving.web_app") / "page"
    assert {"app.js", "pixels.js", "service-worker.js"} <= {p.name for p in page.iterdir()}
