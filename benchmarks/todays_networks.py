"""LeViT beside networks that came after it, at published accuracy, in the same runtimes.

    python -m benchmarks.todays_networks
    python -m benchmarks.todays_networks --families=LeViT,MobileNetV4 --forms="ONNX Runtime fp32"

Speeds are measured here, with random weights; accuracies are the publications' and timm's
(`published` and `timm_networks` in `benchmarks.networks`), whose weights were not trained alike.
One picture a call, one thread. LeViT is the file of `converters.to_onnx`, which normalises pictures
itself; the others are exported from timm, their branches fused. OpenVINO int8 is NNCF's of the same
file for all; LeViT's int8 in ONNX Runtime is our recipe, the others' ONNX Runtime's own static
quantisation, convolutions and products with constants, per channel. TFLite is left out: timm writes
no files for it. Each contender runs in a process of its own, pinned to a core, and they take turns;
times are medians.

Prints for each runtime which networks are on the front (none is both quicker and more accurate),
and for each LeViT off it the quickest that is at least as accurate. Draws the picture. OpenVINO's
columns need openvino and nncf. Takes an hour on two cores. Needs the [bench] extra.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import tempfile
from collections.abc import Mapping
from pathlib import Path

from absl import flags

from benchmarks.networks import ours, timm_networks
from benchmarks.networks.forms import ONNX, open_form, random_pictures
from benchmarks.networks.ours import VARIANTS
from benchmarks.networks.timm_networks import NETWORKS, TimmNetwork
from benchmarks.support import contenders, options, results
from benchmarks.support.pictures import draw_lines
from converters.speed.turns import serve_turns
from levit_common import cli
from levit_tf.variants import get_variant

OURS = "LeViT"


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


def _networks() -> dict[str, TimmNetwork]:
    """All of them by name, ours first."""
    levits = [
        TimmNetwork(OURS, name, get_variant(name).published.top1, 224, "a teacher")
        for name in VARIANTS
    ]
    return {network.name: network for network in (*levits, *NETWORKS)}


def write_files(network: TimmNetwork, forms: list[str], folder: Path) -> None:
    """The files of one network for these forms."""
    files = [ONNX[form] for form in forms]
    if network.family == OURS:
        ours.write_files(ours.levit(network.name), folder, files)
    else:
        timm_networks.write_files(network.name, network.size, folder, files)


def measure(chosen: list[str], forms: list[str], folder: Path) -> dict[str, dict[str, float]]:
    """Form -> name of a network -> milliseconds of a picture."""
    times = {}
    for form in forms:
        running = {
            name: contenders.start(1, worker=name, forms=form, folder=folder / name)
            for name in chosen
        }
        times[form] = {name: one.ms for name, one in contenders.race(running).items()}
    return times


def _verdicts(points: Mapping[str, list[Point]]) -> list[tuple]:
    """For each form and each LeViT: whether it is on the front, and what is quicker."""
    rows = []
    for form, all_of_form in points.items():
        best = {point.name for point in front(all_of_form)}
        for point in (point for point in all_of_form if point.name in VARIANTS):
            other = quickest(all_of_form, point.top1)
            by = None if point.name in best else other.name.partition(".")[0]
            rows.append((form, point.name, point.top1, point.ms, by, other.ms / point.ms))
    return rows


def main() -> None:
    args = flags.FLAGS
    known = _networks()
    forms = args.forms
    if args.worker:
        network = known[args.worker]
        images = random_pictures(1, network.size, channels_first=network.family != OURS)
        serve_turns(open_form(forms[0], Path(args.folder), images, 1))
        return
    if args.write:
        write_files(known[args.write], forms, Path(args.folder))
        return
    if not all(map(importlib.util.find_spec, ("openvino", "nncf"))):
        left_out = [form for form in forms if form.startswith("OpenVINO")]
        forms = [form for form in forms if form not in left_out]
        if left_out:
            print(f"without openvino and nncf there is no {' and no '.join(left_out)}")
    chosen = [network for network in known.values() if network.family in args.families]
    names = [network.name for network in chosen]
    with tempfile.TemporaryDirectory() as folder:
        contenders.write_each(names, Path(folder), forms=",".join(forms))
        times = measure(names, forms, Path(folder))
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
    short = {network.name: network.short for network in chosen}
    panels = {}
    for form, of_form in points.items():
        panels[form] = {"front": [(point.ms, point.top1) for point in front(of_form)]}
        for point in of_form:
            label = OURS if point.name in VARIANTS else "others"
            panels[form].setdefault(label, []).append((point.ms, point.top1, short[point.name]))
    labels = ("ms of a picture, one thread, measured", "top-1 on ImageNet-1k, published, %")
    styles = {"front": {"marker": "", "color": "0.6"}, OURS: {"marker": "s", "ls": ""}}
    styles["others"] = {"ls": ""}
    draw_lines(path, panels, *labels, styles=styles, has_log_x=True)


def define_flags() -> None:
    families = dict.fromkeys(network.family for network in _networks().values())
    options.define_some_of("families", list(families))
    options.define_some_of("forms", list(ONNX))
    options.define_race(turns=7)
    options.define_internal("write")


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
