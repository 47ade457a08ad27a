"""LeViT beside networks that came after it, at published accuracy, in the same runtimes.

    python -m benchmarks.todays_networks
    python -m benchmarks.todays_networks --families=LeViT,MobileNetV4 --forms="ONNX Runtime fp32"

Speeds are measured here, with random weights; accuracies are the publications' and timm's
(`benchmarks.published`, `benchmarks.timm_networks`), whose weights were not trained alike.
One picture a call, one thread. LeViT is the file of `converters.to_onnx`, which normalises pictures
itself; the others are exported from timm, their branches fused. OpenVINO int8 is NNCF's of the same
file for all; LeViT's int8 in ONNX Runtime is our recipe, the others' ONNX Runtime's own static
quantisation, convolutions and products with constants, per channel. Each contender runs in a
process of its own, pinned, in turns; medians.

Prints for each runtime which networks are on the front (none is both quicker and more accurate),
and for each LeViT off it the quickest that is at least as accurate. Draws the picture. OpenVINO's
columns need openvino and nncf. Takes an hour on two cores. Needs the [bench] extra.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks import peers, results
from benchmarks.published import networks
from benchmarks.timm_networks import NETWORKS, TimmNetwork, write_onnx
from converters.speed import runtimes
from converters.speed.turns import Contender, environment, race, serve_turns
from levit_common import cli
from levit_tf.variants import get_variant

OURS = "LeViT"
VARIANTS = ("LeViT128S", "LeViT128", "LeViT192", "LeViT256", "LeViT384")
# Form -> its file.
FORMS = {
    "ONNX Runtime fp32": "fp32.onnx",
    "ONNX Runtime int8": "int8.onnx",
    "OpenVINO fp32": "fp32.onnx",
    "OpenVINO int8": "int8.xml",
}


@dataclasses.dataclass(frozen=True)
class Point:
    """One network in one form.

    Attributes:
      name: of the network.
      top1: published, percent.
      ms: of a picture, measured.
    """

    name: str
    top1: float
    ms: float


def front(points: list[Point]) -> list[Point]:
    """Those that none beats, from quick to slow: another is slower or less accurate."""
    found = []
    for point in sorted(points, key=lambda p: (p.ms, -p.top1)):
        if not found or point.top1 > found[-1].top1:
            found.append(point)
    return found


def quickest(points: list[Point], top1: float) -> Point:
    """The quickest that is at least so accurate."""
    return min((p for p in points if p.top1 >= top1), key=lambda p: p.ms)


def _networks() -> list[TimmNetwork]:
    levits = [
        TimmNetwork(OURS, name, get_variant(name).published.top1, 224, "a teacher")
        for name in VARIANTS
    ]
    return [*levits, *NETWORKS]


def write_files(network: TimmNetwork, forms: list[str], folder: Path) -> None:
    """The files of one network that `FORMS` names."""
    fp32 = folder / "fp32.onnx"
    if network.family == OURS:
        _write_ours(network.name, forms, folder)
        shape = (1, network.size, network.size, 3)
    else:
        write_onnx(network, fp32)
        shape = (1, 3, network.size, network.size)
    # Random ones, as time does not depend on them.
    rng = np.random.default_rng(1)
    scale = 255 if network.family == OURS else 1
    batches = [rng.uniform(0, scale, shape).astype(np.float32) for _ in range(8)]
    if "ONNX Runtime int8" in forms and network.family != OURS:
        peers.quantize_for_onnxruntime(fp32, folder / "int8.onnx", batches)
    if "OpenVINO int8" in forms:
        peers.quantize_for_openvino(fp32, folder / "int8.xml", batches)


def _write_ours(variant: str, forms: list[str], folder: Path) -> None:
    from converters.onnx.conversion import to_onnx
    from converters.tflite.calibration import calibration_images

    model = networks()[variant].build()
    to_onnx(model, folder / "fp32.onnx")
    if "ONNX Runtime int8" in forms:
        images = calibration_images("photographs", model.input_shape[1:3])
        to_onnx(model, folder / "int8.onnx", recipe="int8", calibration_images=images)


def write_all(chosen: list[TimmNetwork], forms: list[str], folder: Path) -> None:
    """Files of every network in a folder of its number, each by a process of its own."""

    def write(number: int) -> None:
        (folder / str(number)).mkdir()
        command = [sys.executable, "-m", "benchmarks.todays_networks", f"--forms={','.join(forms)}"]
        command += [f"--write={chosen[number].name}", f"--folder={folder / str(number)}"]
        subprocess.run(command, check=True, env=environment(False), stdout=subprocess.DEVNULL)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(write, range(len(chosen))))


def work(network: TimmNetwork, form: str, folder: Path) -> None:
    """A contender's process."""
    side = network.size
    shape = (1, side, side, 3) if network.family == OURS else (1, 3, side, side)
    scale = 255 if network.family == OURS else 1
    images = np.random.default_rng(0).uniform(0, scale, shape).astype(np.float32)
    runs = {"ONNX Runtime": runtimes.open_onnxruntime, "OpenVINO": runtimes.open_openvino}
    serve_turns(runs[form.rpartition(" ")[0]](folder / FORMS[form], images, 1))


def measure(
    chosen: list[TimmNetwork], forms: list[str], folder: Path
) -> dict[str, dict[str, float]]:
    """Form -> name of a network -> milliseconds of a picture."""
    args = flags.FLAGS
    times = {}
    for form in forms:
        running = {}
        for number, network in enumerate(chosen):
            settings = [f"--worker={network.name}", f"--forms={form}"]
            settings += [f"--folder={folder / str(number)}"]
            running[network.name] = Contender("benchmarks.todays_networks", settings, threads=1)
        found = race(running, args.turns, args.seconds)
        times[form] = {name: one.ms for name, one in found.items()}
    return times


def _verdicts(points: Mapping[str, list[Point]]) -> list[tuple]:
    """For each form and each LeViT: whether it is on the front, and what is quicker."""
    rows = []
    for form, all_of_form in points.items():
        best = {point.name for point in front(all_of_form)}
        for ours in (point for point in all_of_form if point.name in VARIANTS):
            other = quickest(all_of_form, ours.top1)
            by = None if ours.name in best else other.name.partition(".")[0]
            rows.append((form, ours.name, ours.top1, ours.ms, by, other.ms / ours.ms))
    return rows


def main() -> None:
    args = flags.FLAGS
    known = {network.name: network for network in _networks()}
    if args.worker:
        work(known[args.worker], args.forms[0], Path(args.folder))
        return
    if args.write:
        write_files(known[args.write], args.forms, Path(args.folder))
        return
    forms = args.forms or list(FORMS)
    families = list(dict.fromkeys(network.family for network in known.values()))
    for flag, given, possible in (
        ("forms", forms, list(FORMS)),
        ("families", args.families or (), families),
    ):
        if unknown := [name for name in given if name not in possible]:
            expected = ", ".join(possible)
            raise ValueError(f"--{flag}: expected some of {expected}. Received: {unknown[0]}")
    if not all(map(importlib.util.find_spec, ("openvino", "nncf"))):
        left_out = [form for form in forms if form.startswith("OpenVINO")]
        forms = [form for form in forms if form not in left_out]
        if left_out:
            print(f"without openvino and nncf there is no {' and no '.join(left_out)}")
    chosen = [n for n in known.values() if n.family in (args.families or families)]
    with tempfile.TemporaryDirectory() as folder:
        write_all(chosen, forms, Path(folder))
        times = measure(chosen, forms, Path(folder))
    rows = [
        (n.short, n.family, n.top1, n.size, n.data, *(times[form][n.name] for form in forms))
        for n in chosen
    ]
    columns = ("network", "family", "top-1, published", "input", "trained with")
    columns += tuple(f"{form}, ms" for form in forms)
    folder = results.publish("todays_networks", columns, rows, args.output)
    points = {form: [Point(n.name, n.top1, times[form][n.name]) for n in chosen] for form in forms}
    print("\nThe quickest that is at least as accurate:\n")
    columns = ("runtime", "LeViT", "top-1, published", "ms", "beaten by", "its time is")
    results.publish("todays_networks_front", columns, _verdicts(points), args.output)
    _draw(chosen, points, folder / "todays_networks.png")


def _draw(chosen: list[TimmNetwork], points: Mapping[str, list[Point]], path: Path) -> None:
    """Published accuracy over measured time, a panel for each form, the front as a line."""
    from levit_common.figures import make_figure, save_figure

    columns = min(2, len(points))
    figure = make_figure(6 * columns, 4.5 * -(-len(points) // columns))
    panels = figure.subplots(-(-len(points) // columns), columns, squeeze=False)
    short = {network.name: network.short for network in chosen}
    for axes, (form, of_form) in zip(panels.flat, points.items(), strict=False):
        best = front(of_form)
        axes.plot([p.ms for p in best], [p.top1 for p in best], "-", lw=1, color="0.6")
        for is_ours, mark in ((True, "s"), (False, "o")):
            some = [p for p in of_form if (p.name in VARIANTS) == is_ours]
            label = OURS if is_ours else "others"
            axes.plot([p.ms for p in some], [p.top1 for p in some], mark, ms=4, label=label)
        for point in of_form:
            axes.annotate(
                short[point.name],
                (point.ms, point.top1),
                fontsize=6,
                xytext=(3, 2),
                textcoords="offset points",
            )
        axes.set(title=form)
        axes.grid(alpha=0.3)
        results.plain_log_ticks(axes)
    figure.supxlabel("ms of a picture, one thread, measured")
    figure.supylabel("top-1 on ImageNet-1k, published, %")
    panels[0, 0].legend()
    save_figure(figure, path)


def define_flags() -> None:
    flags.DEFINE_list("families", None, "Which; all by default.")
    flags.DEFINE_list("forms", None, f"Some of: {', '.join(FORMS)}; all by default.")
    results.define_race_flags(turns=7)
    flags.DEFINE_string("write", None, "Used by the benchmark itself.")


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
