"""Accuracy of a trained network in every TFLite recipe and calibration method, and in int8 peers.

    python -m benchmarks.quantization_methods --model=FILE.keras --data=FOLDER
    python -m benchmarks.quantization_methods --model=FILE.keras --data=FOLDER --qat=RUN,RUN

The folder has train/ and val/ with a folder for each class. 128 training pictures calibrate, all
held-out ones are classified. Beside top-1 and its standard error stand the share of pictures that
are put into the class that the float network puts them into, and the mean difference of a logit
from the float one: they tell files apart that top-1 cannot. `--qat` names runs of
quantisation-aware training of the same network. Our int8 ONNX file runs in ONNX Runtime and in
OpenVINO. The peers quantise the float ONNX export with the same pictures, ONNX Runtime by its
static quantisation (min/max, per channel, QDQ), OpenVINO by NNCF's settings for transformers. What
needs packages that are missing is left out. Seconds are those of the whole export, of our files
with the comparison with Keras. Writes quantization_methods.json.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

from benchmarks.networks import peers
from benchmarks.support import options, results
from converters.choices import CALIBRATION_METHODS, DEFAULT_CALIBRATION_METHOD, RECIPES
from levit_common import cli
from levit_common.arrays import standard_error

COLUMNS = (
    *("file", "method", "top-1, %", "standard error", "same class as float, %"),
    *("mean logit difference", "MB", "seconds"),
)


class Pictures(NamedTuple):
    """The pictures that every file is calibrated and measured with.

    Attributes:
      calibration: (n, height, width, 3), RGB 0..255, of the training part.
      images: the held-out part.
      labels: (n,), each the number of the network's output.
    """

    calibration: np.ndarray
    images: np.ndarray
    labels: np.ndarray


def load_pictures(model: str, folder: str) -> Pictures:
    """Reads a folder of pictures for a network.

    Args:
      model: the network, a .keras file.
      folder: with train/ and val/.

    Raises:
      ValueError: the network does not have its classes, or there is no such part.
    """
    from converters.tflite.calibration import CALIBRATION_IMAGES
    from levit_tf.prediction.predictor import load_predictor
    from training.data import load_data
    from training.evaluation.accuracy import class_of_output

    predictor = load_predictor(model)
    data = load_data(f"imagefolder:{folder}").with_input_size(predictor.input_size)
    images, labels = data.test_images()
    outputs = np.argsort(class_of_output(predictor, data))
    return Pictures(data.calibration_images(CALIBRATION_IMAGES), images, outputs[labels])


def tflite_files(model, calibration: np.ndarray, folder: Path) -> Iterator[tuple[str, str, Path]]:
    """(recipe, method, file) of every recipe and method, made when it is asked for."""
    from converters.tflite.conversion import to_tflite

    for recipe, choice in RECIPES.items():
        for method in CALIBRATION_METHODS if choice.calibrated else (None,):
            path = folder / f"{recipe}-{method}.tflite"
            to_tflite(
                model,
                path,
                recipe=recipe,
                outputs="logits",
                calibration_images=calibration,
                calibration_method=method,
            )
            yield f"TFLite {recipe}", method or "-", path


def qat_files(runs: list[str], folder: Path) -> Iterator[tuple[str, str, Path]]:
    """(recipe, "-", file) of runs of quantisation-aware training."""
    from converters.qat.conversion import convert

    for number, run in enumerate(runs):
        path = folder / f"qat-{number}.tflite"
        about = convert(run, path, outputs="logits")
        yield f"TFLite {about['recipe']}, trained for it", "-", path


def logits_of(path: Path, images: np.ndarray) -> np.ndarray:
    """(n, classes) of a .tflite or .onnx file, a picture at a time."""
    from levit_tf.prediction.network_files import read_network

    network = read_network(path)
    return np.concatenate([network.outputs(image[np.newaxis])["logits"] for image in images])


def openvino_logits(path: Path, images: np.ndarray) -> np.ndarray:
    """(n, classes) of a file of OpenVINO's own, or an ONNX file."""
    import openvino

    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(path, "CPU", settings)
    request = model.create_infer_request()
    return np.concatenate([request.infer({0: x})["logits"].copy() for x in ones(images)])


def our_onnx_rows(model, pictures: Pictures, folder: Path, row: Callable) -> Iterator[tuple]:
    """Rows of our int8 ONNX file in the runtimes that are installed."""
    from converters.onnx.conversion import to_onnx

    if importlib.util.find_spec("onnxruntime") is None:
        return
    path = folder / "ours.onnx"
    start = time.perf_counter()
    to_onnx(model, path, recipe="int8", calibration_images=pictures.calibration)
    seconds = time.perf_counter() - start
    found = {"ONNX Runtime": logits_of(path, pictures.images)}
    if importlib.util.find_spec("openvino"):
        found["OpenVINO"] = openvino_logits(path, pictures.images)
    for runtime, logits in found.items():
        name = f"ONNX int8 (ours) in {runtime}"
        yield row(name, DEFAULT_CALIBRATION_METHOD, logits, path.stat().st_size, seconds)


def peer_rows(model, pictures: Pictures, folder: Path, row: Callable) -> Iterator[tuple]:
    """Rows of the peers that are installed."""
    from converters.onnx.conversion import to_onnx

    if importlib.util.find_spec("onnxruntime") is None:
        return
    found_peers = [("ONNX Runtime static int8", "min_max", "int8.onnx", "onnxruntime")]
    if all(map(importlib.util.find_spec, ("nncf", "openvino"))):
        found_peers.append(("OpenVINO int8, NNCF", "NNCF's", "int8.xml", "openvino"))
    quantize = {
        "onnxruntime": peers.quantize_for_onnxruntime,
        "openvino": peers.quantize_for_openvino,
    }
    logits = {"onnxruntime": logits_of, "openvino": openvino_logits}
    for name, method, file, runtime in found_peers:
        path = folder / f"{runtime}.onnx"
        start = time.perf_counter()
        to_onnx(model, path)
        quantize[runtime](path, folder / file, list(ones(pictures.calibration)))
        seconds = time.perf_counter() - start
        found = logits[runtime](folder / file, pictures.images)
        size = sum(f.stat().st_size for f in folder.glob(f"{Path(file).stem}.*") if _kept(f, file))
        yield row(name, method, found, size, seconds)


def _kept(path: Path, file: str) -> bool:
    """Whether a file belongs to `file`: itself, or the weights beside OpenVINO's own."""
    return path.name == file or (file.endswith(".xml") and path.suffix == ".bin")


def ones(images: np.ndarray) -> Iterator[np.ndarray]:
    """Pictures as batches of one, float32."""
    return (image[np.newaxis].astype(np.float32) for image in images)


def rows(model, pictures: Pictures, qat: list[str], folder: Path) -> Iterator[tuple]:
    """Cells of `COLUMNS` of every file, the float one first."""
    expected = None
    labels = pictures.labels

    def row(name, method, logits, size, seconds):
        top1 = float(np.mean(logits.argmax(1) == labels))
        return (
            name,
            method,
            100 * top1,
            100 * standard_error(top1, len(labels)),
            100 * float(np.mean(logits.argmax(1) == expected.argmax(1))),
            float(np.abs(logits - expected).mean()),
            size / 1e6,
            seconds,
        )

    for files in (tflite_files(model, pictures.calibration, folder), qat_files(qat, folder)):
        start = time.perf_counter()
        for recipe, method, path in files:
            seconds = time.perf_counter() - start
            logits = logits_of(path, pictures.images)
            expected = logits if expected is None else expected
            yield row(recipe, method, logits, path.stat().st_size, seconds)
            start = time.perf_counter()
    for more in (our_onnx_rows, peer_rows):
        yield from more(model, pictures, folder, row)


def main() -> None:
    from levit_tf.weights.keras_files import load_keras_file

    args = flags.FLAGS
    pictures = load_pictures(args.model, args.data)
    print(f"{len(pictures.labels):,} held-out pictures, {len(pictures.calibration)} to calibrate")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        model = load_keras_file(args.model)
        for row in rows(model, pictures, args.qat, Path(folder)):
            print(f"{row[0]}, {row[1]}: {row[2]:.2f} %", flush=True)
            found.append(row)
    # Two digits tell top-1 apart; the JSON has all of them.
    shown = [[*row[:2], *map(_digits, row[2:])] for row in found]
    results.publish("quantization_methods", COLUMNS, found, args.output, shown)


def _digits(number: float) -> str:
    return f"{number:.4f}" if number < 0.1 else f"{number:.2f}"


def define_flags() -> None:
    flags.DEFINE_string("model", None, "The trained network, a .keras file.")
    flags.DEFINE_string("data", None, "Folder with train/ and val/, in each a folder a class.")
    flags.DEFINE_list("qat", [], "Runs of quantisation-aware training of the same network.")
    options.define_output()
    flags.mark_flags_as_required(["model", "data"])


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
