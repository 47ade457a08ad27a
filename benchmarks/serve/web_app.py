"""The page of serving.web_app beside Keras and LiteRT, on photographs.

    python -m benchmarks.serve.web_app --model=LeViTMini --images=FOLDER [--count=100]
    python -m benchmarks.serve.web_app --model=final.keras --images=FOLDER

The network in float32 and in mixed int8, in Chromium without a window: how often its likeliest
class is that of Keras on the same file, and the milliseconds of one picture beside LiteRT's in
Python with one thread, which is what a page without threads has, too. Needs chromium, chromedriver
and selenium.
"""

from __future__ import annotations

import base64
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks.support import options, results
from levit_common import cli
from levit_common.model_sources import MODEL_HELP

RECIPES = ("fp32", "int8")
COLUMNS = (
    *("file", "photographs", "top-1 as LiteRT in Python", "as Keras", "in the browser, ms"),
    *("LiteRT in Python, ms", "console"),
)


def main() -> None:
    from converters.tflite.calibration import calibration_images
    from converters.to_tflite import to_tflite
    from levit_common.arrays import spread_indices
    from levit_lite.images import load_cropped
    from levit_lite.prediction.predictor import load_tflite_predictor
    from levit_tf.applications import load_by_name
    from levit_tf.pictures.images import load_images
    from levit_tf.pictures.picture_folders import pictures_in
    from levit_tf.prediction.predictor import load_predictor
    from serving.web_app.site import write_site
    from tests.support.browser import complaints, running_browser
    from tests.support.static_server import ASK, static_server

    args = flags.FLAGS
    paths, _ = pictures_in(args.images, "--images")
    chosen = [paths[index] for index in spread_indices(len(paths), args.count)]
    model = load_by_name(args.model)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model.save(folder / "model.keras")
        keras = load_predictor(folder / "model.keras")
        expected = keras.predict(load_images(chosen, keras.input_size)).argmax(axis=1)
        rows = []
        with running_browser(folder / "chromium") as browser:
            browser.set_script_timeout(120)
            for recipe in RECIPES:
                images = calibration_images(f"imagefolder:{args.images}", keras.input_size)
                to_tflite(
                    model, folder / f"{recipe}.tflite", recipe=recipe, calibration_images=images
                )
                write_site(folder / f"{recipe}.tflite", folder / recipe)
                with static_server(folder / recipe) as address:
                    browser.get(address)
                    found = [
                        browser.execute_async_script(
                            ASK, base64.b64encode(Path(path).read_bytes()).decode()
                        )
                        for path in chosen
                    ]
                    said = complaints(browser)
                answers = np.array([np.argmax(one["scores"]) for one in found])
                lite = load_tflite_predictor(folder / f"{recipe}.tflite", threads=1)
                python, own = [], []
                for path in chosen:
                    image = load_cropped(path, lite.input_size)[None]
                    start = time.perf_counter()
                    own.append(lite.predict(image).argmax())
                    python.append(1000 * (time.perf_counter() - start))
                rows.append(
                    (
                        recipe,
                        len(chosen),
                        int(np.sum(answers == np.array(own))),
                        int(np.sum(answers == expected)),
                        float(np.median([one["ms"] for one in found])),
                        float(np.median(python)),
                        "; ".join(sorted(set(said))) or "nothing",
                    )
                )
    results.publish("web_app", COLUMNS, rows, args.output)


def define_flags() -> None:
    flags.DEFINE_string("model", "LeViTMini", MODEL_HELP)
    flags.DEFINE_string("images", None, "A folder of photographs.")
    flags.DEFINE_integer("count", 100, "How many of them.", lower_bound=1)
    options.define_output()
    flags.mark_flag_as_required("images")


COMMAND = cli.Command(main, define_flags)

if __name__ == "__main__":
    COMMAND.run()
