"""Our artefact against the best other LeViT in the same runtime, for every runtime.

    python -m benchmarks.every_runtime --variants=LeViT256,LeViT128S --batches=1 --threads=1

Others are what their authors' code gives through the runtime's own tools: keras_cv_attention_models
and zeromodels through TensorFlow's converter and quantiser and as a SavedModel with frozen weights,
timm's `levit` and `levit_conv` through PyTorch's exporter, ONNX Runtime's static quantisation
(convolutions and products with constants, per channel) and OpenVINO's NNCF. Ours are
`converters.to_tflite`, `to_saved_model` and `to_onnx`, whose file OpenVINO runs too, and normalise
pictures themselves. PyTorch, where there is none of ours, is in `benchmarks.cpu_inference`. Random
weights, on which time does not depend; each contender in a process of its own, pinned, in turns;
medians.

A peer that is not installed is left out, and that is said. Needs the [bench] extra, and zeromodels.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks import peers, results
from benchmarks.published import networks, write_fp32_tflite, write_int8_tflite, write_saved_model
from converters.speed import runtimes
from converters.speed.turns import Contender, environment, race, serve_turns
from levit_common import cli
from levit_tf.variants import get_variant

OURS = "levit_tf"
KECAM, ZEROMODELS = "keras_cv_attention_models", "zeromodels"
TIMM = {"timm": "levit", "timm, conv": "levit_conv"}
# Runtime and precision -> the file's name.
TFLITE = {"TFLite fp32": "fp32.tflite", "TFLite int8": "int8.tflite"}
TENSORFLOW = {"TensorFlow fp32": "saved_model"}
ONNX = {
    "ONNX Runtime fp32": "fp32.onnx",
    "ONNX Runtime int8": "int8.onnx",
    "OpenVINO fp32": "fp32.onnx",
    "OpenVINO int8": "int8.xml",
}
FORMS = {**TFLITE, **TENSORFLOW, **ONNX}
SIZE = 224


@dataclasses.dataclass(frozen=True)
class Entry:
    """One contender: whose LeViT in which form."""

    form: str
    who: str

    @property
    def has_channels_first(self) -> bool:
        """Whether it takes (batch, 3, height, width)."""
        return self.who in TIMM


def entries(forms: list[str]) -> list[Entry]:
    """What there is of these forms, ours first in each."""
    found = []
    for form in forms:
        others = list(TIMM) if form in ONNX else [KECAM, ZEROMODELS]
        found += [Entry(form, who) for who in (OURS, *others) if not missing(who, form)]
    return found


def missing(who: str, form: str) -> list[str]:
    """Packages that a contender needs and that are not installed."""
    needed = ["timm"] if who in TIMM else [who] if who != OURS else []
    if form.startswith("OpenVINO"):
        needed += ["openvino", "nncf"]
    return [package for package in needed if importlib.util.find_spec(package) is None]


def write_files(variant: str, who: str, forms: list[str], folder: Path) -> None:
    """The files of one codebase for one picture, and the SavedModel for any number."""
    if who == OURS:
        _write_ours(variant, forms, folder)
    elif who in TIMM:
        from benchmarks.timm_networks import TimmNetwork, write_onnx

        name = f"{TIMM[who]}_{variant.removeprefix('LeViT').lower()}"
        write_onnx(TimmNetwork("LeViT", name, 0.0, SIZE), folder / "fp32.onnx")
    else:
        model = _kecam(variant) if who == KECAM else _zeromodels(variant)
        for form, write in (
            ("TFLite fp32", write_fp32_tflite),
            ("TFLite int8", write_int8_tflite),
            ("TensorFlow fp32", write_saved_model),
        ):
            if form in forms:
                write(model, folder / FORMS[form])
    rng = np.random.default_rng(1)
    shape = (1, 3, SIZE, SIZE) if who in TIMM else (1, SIZE, SIZE, 3)
    batches = [rng.uniform(0, 1 if who in TIMM else 255, shape).astype("f") for _ in range(8)]
    if "ONNX Runtime int8" in forms and who in TIMM:
        peers.quantize_for_onnxruntime(folder / "fp32.onnx", folder / "int8.onnx", batches)
    if "OpenVINO int8" in forms:
        peers.quantize_for_openvino(folder / "fp32.onnx", folder / "int8.xml", batches)


def _write_ours(variant: str, forms: list[str], folder: Path) -> None:
    from converters.onnx.conversion import to_onnx
    from converters.saved_model.conversion import to_saved_model
    from converters.tflite.calibration import calibration_images
    from converters.tflite.conversion import to_tflite

    model = networks()[variant].build()
    images = calibration_images("photographs", model.input_shape[1:3])
    for form in forms:
        path = folder / FORMS[form]
        if form in TFLITE:
            recipe = {"recipe": path.stem, "outputs": "logits", "calibration_images": images}
            to_tflite(model, path, **recipe)
        elif form in TENSORFLOW:
            to_saved_model(model, path)
        elif form == "ONNX Runtime int8":
            to_onnx(model, path, recipe="int8", calibration_images=images)
        elif not (folder / "fp32.onnx").exists():
            to_onnx(model, folder / "fp32.onnx")


def _kecam(variant: str):
    from keras_cv_attention_models import levit, model_surgery

    model = getattr(levit, variant)(pretrained=None, classifier_activation=None).switch_to_deploy()
    return model_surgery.convert_to_fused_conv_bn_model(model)


def _zeromodels(variant: str):
    from zeromodels.models.levit import LevitImageClassify

    network = get_variant(variant)
    return LevitImageClassify(
        hidden_sizes=network.embed_dim,
        num_attention_heads=network.num_heads,
        depths=network.depth,
        key_dim=(network.key_dim,) * len(network.depth),
    )


def work(entry: Entry, batch: int, threads: int, folder: Path) -> None:
    """A contender's process."""
    shape = (batch, 3, SIZE, SIZE) if entry.has_channels_first else (batch, SIZE, SIZE, 3)
    scale = 1 if entry.has_channels_first else 255
    images = np.random.default_rng(0).uniform(0, scale, shape).astype(np.float32)
    open_file = {
        "TFLite": runtimes.open_tflite,
        "TensorFlow": runtimes.open_saved_model,
        "ONNX Runtime": runtimes.open_onnxruntime,
        "OpenVINO": runtimes.open_openvino,
    }[entry.form.rpartition(" ")[0]]
    serve_turns(open_file(folder / FORMS[entry.form], images, threads))


def write_all(variant: str, chosen: list[Entry], folder: Path) -> None:
    """A folder for each codebase, written by a process of its own."""
    for number, who in enumerate(dict.fromkeys(entry.who for entry in chosen)):
        (folder / who).mkdir()
        forms = [entry.form for entry in chosen if entry.who == who]
        command = [sys.executable, "-m", "benchmarks.every_runtime", f"--write={who}"]
        command += [f"--variants={variant}", f"--forms={','.join(forms)}"]
        print(f"{variant}: files of {who} ({number + 1})", file=sys.stderr)
        subprocess.run(
            [*command, f"--folder={folder / who}"],
            check=True,
            env=environment(legacy_keras=who == KECAM),
            stdout=subprocess.DEVNULL,
        )


def measure(
    variant: str, batch: int, threads: int, chosen: list[Entry], folder: Path
) -> dict[Entry, float]:
    """Milliseconds of a picture; only the files of `TENSORFLOW` take more than one."""
    args = flags.FLAGS
    times = {}
    for form in dict.fromkeys(entry.form for entry in chosen):
        if batch > 1 and form not in TENSORFLOW:
            continue
        running = {}
        for entry in (one for one in chosen if one.form == form):
            settings = [f"--worker={entry.who}", f"--forms={form}", f"--batches={batch}"]
            settings += [f"--threads={threads}", f"--folder={folder / entry.who}"]
            running[entry] = Contender(
                *("benchmarks.every_runtime", settings, threads), entry.who == KECAM
            )
        found = race(running, args.turns, args.seconds)
        times |= {entry: one.ms / batch for entry, one in found.items()}
    return times


def rows_of(variant: str, batch: int, threads: int, times: dict[Entry, float]) -> list[tuple]:
    """Ours beside the best other one, for each form."""
    rows = []
    for form in dict.fromkeys(entry.form for entry in times):
        ours = times[Entry(form, OURS)]
        others = {e.who: ms for e, ms in times.items() if e.form == form and e.who != OURS}
        best = min(others, key=others.get, default=None)
        ms = others.get(best)
        rows.append((variant, batch, threads, form, ours, best, ms, ms and ours / ms))
    return rows


COLUMNS = ("variant", "batch", "threads", "runtime", "ours, ms", "best other", "ms", "ours is")


def main() -> None:
    args = flags.FLAGS
    forms = args.forms or list(FORMS)
    if unknown := [form for form in forms if form not in FORMS]:
        raise ValueError(f"--forms: expected some of {', '.join(FORMS)}. Received: {unknown[0]}")
    if args.worker:
        (batch,), (threads,) = args.batches, args.threads
        work(Entry(forms[0], args.worker), int(batch), int(threads), Path(args.folder))
        return
    if args.write:
        write_files(get_variant(args.variants[0]).name, args.write, forms, Path(args.folder))
        return
    chosen = entries(forms)
    for who in (KECAM, ZEROMODELS, *TIMM):
        if lacking := missing(who, ""):
            print(f"without {lacking[0]}, which is not installed", file=sys.stderr)
    rows = []
    for variant in args.variants:
        name = get_variant(variant).name
        with tempfile.TemporaryDirectory() as folder:
            write_all(name, chosen, Path(folder))
            for batch in map(int, args.batches):
                for threads in map(int, args.threads):
                    times = measure(name, batch, threads, chosen, Path(folder))
                    rows += rows_of(name, batch, threads, times)
                    # What was measured is there, however the rest ends.
                    results.write("every_runtime", COLUMNS, rows, args.output)
    results.publish("every_runtime", COLUMNS, rows, args.output)


def define_flags() -> None:
    variants = ["LeViT128S", "LeViT128", "LeViT192", "LeViT256", "LeViT384"]
    flags.DEFINE_list("variants", variants, "Which networks.")
    flags.DEFINE_list("batches", ["1", "16"], "Pictures in a call of TensorFlow.")
    flags.DEFINE_list("threads", ["1", "2"], "Of each contender.")
    flags.DEFINE_list("forms", None, f"Some of: {', '.join(FORMS)}; all by default.")
    results.define_race_flags(turns=5)
    flags.DEFINE_string("write", None, "Used by the benchmark itself.")


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
