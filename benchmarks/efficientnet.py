"""The paper's claim: LeViT against EfficientNet, MobileNet and DeiT at equal published accuracy.

    python -m benchmarks.efficientnet
    python -m benchmarks.efficientnet --networks=LeViT192,EfficientNetB1,EfficientNetB2

Speeds are measured here, accuracies are the publications' (`benchmarks.published`). Every network
is run in the best form that each runtime has for it: in LiteRT with one picture a call as float32
and as the quicker of its int8 files (ours: the mixed recipe; the others: TFLite's converter's
static and dynamic quantisation), in TensorFlow with frozen weights and a batch, in float32 and in
bfloat16 (ours: exported so; the others: TensorFlow's own rewriting). Each contender runs in a
process of its own, pinned, in turns; medians.

Prints all times, and at the accuracies of LeViT-192 and LeViT-256 how many times as long the others
take, their times interpolated between their nearest members (log time over accuracy). Draws the
picture of the paper's figure 1. Takes 25 minutes on two cores. Needs the [bench] extra.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks import results
from benchmarks.published import (
    Network,
    networks,
    write_dynamic_tflite,
    write_fp32_tflite,
    write_int8_tflite,
    write_saved_model,
)
from converters.speed import runtimes
from converters.speed.turns import Contender, environment, race, serve_turns
from levit_common import cli

TFLITE_FP32, TFLITE_INT8 = "TFLite fp32", "TFLite int8"
TENSORFLOW, TENSORFLOW_BF16 = "TensorFlow fp32", "TensorFlow bf16"
FORMS = (TFLITE_FP32, TFLITE_INT8, TENSORFLOW, TENSORFLOW_BF16)
# Form -> the files that compete for it.
FILES = {
    TFLITE_FP32: ("fp32.tflite",),
    TFLITE_INT8: ("int8.tflite", "dynamic.tflite"),
    TENSORFLOW: ("saved_model",),
    TENSORFLOW_BF16: ("saved_model_bf16",),
}
AT = ("LeViT192", "LeViT256")
_OURS = "LeViT"


def write_files(network: Network, folder: Path) -> None:
    """Writes the files of one network that `FILES` names."""
    model = network.build()
    files = [file for files in FILES.values() for file in files]
    if network.family == _OURS:
        from converters.saved_model.conversion import to_saved_model
        from converters.tflite.calibration import calibration_images
        from converters.tflite.conversion import to_tflite

        images = calibration_images("photographs", model.input_shape[1:3])
        for path in (folder / file for file in files):
            if path.suffix == ".tflite":
                to_tflite(
                    model, path, recipe=path.stem, outputs="logits", calibration_images=images
                )
            else:
                precision = "bfloat16" if "bf16" in path.name else "float32"
                to_saved_model(model, path, precision=precision)
        return
    write = {
        "fp32.tflite": write_fp32_tflite,
        "int8.tflite": write_int8_tflite,
        "dynamic.tflite": write_dynamic_tflite,
        "saved_model": write_saved_model,
        "saved_model_bf16": write_saved_model,
    }
    for file in files:
        write[file](model, folder / file)


def work(network: Network, path: Path) -> None:
    """A contender's process."""
    args = flags.FLAGS
    tflite = path.suffix == ".tflite"
    shape = (1 if tflite else args.batch, network.size, network.size, 3)
    images = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    if tflite:
        run = runtimes.open_tflite(path, images, args.threads)
    else:
        # Ours has bfloat16 in its graph.
        rewrite = "bf16" in path.name and network.family != _OURS
        run = runtimes.open_saved_model(path, images, args.threads, rewrite)
    serve_turns(run)


def write_all(chosen: list[Network], folder: Path) -> None:
    """Files of every network in a folder of its name, each by a process of its own."""

    def write(network: Network) -> None:
        (folder / network.name).mkdir()
        command = [sys.executable, "-m", "benchmarks.efficientnet", f"--write={network.name}"]
        subprocess.run(
            [*command, f"--folder={folder / network.name}"],
            check=True,
            env=environment(network.legacy_keras),
            stdout=subprocess.DEVNULL,
        )

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(write, chosen))


def measure(chosen: list[Network], folder: Path) -> dict[tuple[str, str], tuple[float, str]]:
    """(network, form) -> milliseconds of a picture, and the file that was quickest."""
    args = flags.FLAGS
    times = {}
    for form, files in FILES.items():
        running = {}
        for network in chosen:
            for file in files:
                settings = [f"--worker={network.name}", f"--folder={folder / network.name / file}"]
                settings += [f"--threads={args.threads}", f"--batch={args.batch}"]
                running[network.name, file] = Contender(
                    "benchmarks.efficientnet", settings, args.threads
                )
        batch = args.batch if files[0].startswith("saved_model") else 1
        for (name, file), found in race(running, args.turns, args.seconds).items():
            ms = found.ms / batch
            if ms < times.get((name, form), (math.inf, ""))[0]:
                times[name, form] = (ms, file)
    return times


def interpolated(points: list[tuple[float, float]], top1: float) -> float | None:
    """Time at an accuracy: linear in the logarithm of time between the two nearest members.

    Args:
      points: (top-1, milliseconds) of a family.
      top1: the accuracy.

    Returns:
      Milliseconds; None where the family does not reach that accuracy, or begins above it.
    """
    points = sorted(points)
    if not points or not points[0][0] <= top1 <= points[-1][0]:
        return None
    accuracies, ms = zip(*points, strict=True)
    return float(np.exp(np.interp(top1, accuracies, np.log(ms))))


def _ratios(chosen: list[Network], times) -> list[tuple]:
    rows = []
    by_name = {network.name: network for network in chosen}
    for name in (name for name in AT if name in by_name):
        top1 = by_name[name].top1
        for family in dict.fromkeys(n.family for n in chosen if n.family != _OURS):
            ratios = []
            for form in FORMS:
                points = [(n.top1, times[n.name, form][0]) for n in chosen if n.family == family]
                other = interpolated(points, top1)
                ratios.append(other and other / times[name, form][0])
            rows.append((name, top1, family, *ratios))
    return rows


def main() -> None:
    args = flags.FLAGS
    known = networks()
    if args.worker:
        work(known[args.worker], Path(args.folder))
        return
    if args.write:
        write_files(known[args.write], Path(args.folder))
        return
    unknown = [name for name in args.networks or () if name not in known]
    if unknown:
        raise ValueError(f"--networks: expected some of {', '.join(known)}. Received: {unknown[0]}")
    chosen = [known[name] for name in args.networks or known]
    with tempfile.TemporaryDirectory() as folder:
        write_all(chosen, Path(folder))
        times = measure(chosen, Path(folder))
    columns = ("network", "top-1, published", "input", *(f"{form}, ms" for form in FORMS), "int8")
    rows = []
    for n in chosen:
        file = times[n.name, TFLITE_INT8][1]
        ms = (times[n.name, form][0] for form in FORMS)
        rows.append((n.name, n.top1, n.size, *ms, file.removesuffix(".tflite")))
    folder = results.publish("efficientnet", columns, rows, args.output)
    ratios = _ratios(chosen, times)
    if ratios:
        print("\nTimes as long as LeViT at equal published accuracy:\n")
        columns = ("at", "top-1, published", "family", *FORMS)
        results.publish("efficientnet_ratios", columns, ratios, args.output)
    _draw(chosen, times, folder / "efficientnet.png")


def _draw(chosen: list[Network], times, path: Path) -> None:
    """Accuracy over speed, a panel for each form."""
    from levit_common.figures import make_figure, save_figure

    figure = make_figure(10, 8)
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    for axes, form in zip(panels.flat, FORMS, strict=True):
        for family in dict.fromkeys(network.family for network in chosen):
            members = [network for network in chosen if network.family == family]
            speeds = [1e3 / times[network.name, form][0] for network in members]
            width = 2.5 if family == _OURS else 1.2
            axes.plot(speeds, [n.top1 for n in members], "o-", lw=width, ms=4, label=family)
            for network, speed in zip(members, speeds, strict=True):
                short = network.name.removeprefix(family).lstrip("-") or network.name
                axes.annotate(
                    short,
                    (speed, network.top1),
                    fontsize=7,
                    xytext=(3, 3),
                    textcoords="offset points",
                )
        axes.set(title=form)
        axes.grid(alpha=0.3)
        axes.label_outer()
    results.plain_log_ticks(panels[0, 0])
    figure.supxlabel("images/s, measured")
    figure.supylabel("top-1 on ImageNet-1k, published, %")
    figure.axes[0].legend()
    save_figure(figure, path)


def define_flags() -> None:
    flags.DEFINE_list("networks", None, "Which; all by default.")
    flags.DEFINE_integer("batch", 16, "Pictures in a call of TensorFlow.", lower_bound=1)
    flags.DEFINE_integer("threads", 1, "Of each contender.", lower_bound=1)
    results.define_race_flags(turns=7)
    flags.DEFINE_string("write", None, "Used by the benchmark itself.")


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
