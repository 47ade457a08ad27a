"""The paper's claim: LeViT against EfficientNet, MobileNet and DeiT at equal published accuracy.

    python -m benchmarks.efficientnet
    python -m benchmarks.efficientnet --networks=LeViT192,EfficientNetB1,EfficientNetB2

Speeds are measured here, accuracies are the publications' (`benchmarks.networks.published`). Every
network is run in the best form that each runtime has for it: in LiteRT with one picture a call as
float32 and as the quicker of its int8 files (ours: the mixed recipe; the others: TFLite's
converter's static and dynamic quantisation), in TensorFlow with frozen weights and a batch, in
float32 and in bfloat16 (ours: exported in it; the others: TensorFlow's own rewriting). Each
contender runs in a process of its own, pinned to its cores, and they take turns; times are medians.

Prints all times, and at the accuracies of LeViT-192 and LeViT-256 how many times as long the others
take, their times interpolated between their nearest members (log time over accuracy). Draws the
picture of the paper's figure 1. Takes 25 minutes on two cores. Needs the [bench] extra.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

from absl import flags

from benchmarks.networks import ours, published
from benchmarks.networks.forms import random_pictures
from benchmarks.networks.published import Network, interpolated, networks
from benchmarks.support import contenders, options, results
from benchmarks.support.pictures import draw_lines
from converters.speed import runtimes
from converters.speed.turns import serve_turns
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
    write = ours.write_files if network.family == _OURS else published.write_files
    write(network.build(), folder, [file for files in FILES.values() for file in files])


def work(network: Network, path: Path) -> None:
    """A contender's process."""
    args = flags.FLAGS
    tflite = path.suffix == ".tflite"
    images = random_pictures(1 if tflite else args.batch, network.size)
    if tflite:
        run = runtimes.open_tflite(path, images, args.threads)
    else:
        # Ours has bfloat16 in its graph.
        rewrite = "bf16" in path.name and network.family != _OURS
        run = runtimes.open_saved_model(path, images, args.threads, rewrite)
    serve_turns(run)


def measure(chosen: list[Network], folder: Path) -> dict[tuple[str, str], tuple[float, str]]:
    """(network, form) -> milliseconds of a picture, and the file that was quickest."""
    args = flags.FLAGS
    times = {}
    for form, files in FILES.items():
        running = {}
        for network in chosen:
            for file in files:
                running[network.name, file] = contenders.start(
                    args.threads,
                    worker=network.name,
                    folder=folder / network.name / file,
                    threads=args.threads,
                    batch=args.batch,
                )
        batch = args.batch if files[0].startswith("saved_model") else 1
        for (name, file), found in contenders.race(running).items():
            ms = found.ms / batch
            if ms < times.get((name, form), (math.inf, ""))[0]:
                times[name, form] = (ms, file)
    return times


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
    chosen = [known[name] for name in args.networks]
    old = [network.name for network in chosen if network.legacy_keras]
    with tempfile.TemporaryDirectory() as folder:
        contenders.write_each(args.networks, Path(folder), old)
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
    panels = {form: {} for form in FORMS}
    for form, families in panels.items():
        for n in chosen:
            short = n.name.removeprefix(n.family).lstrip("-") or n.name
            point = (1e3 / times[n.name, form][0], n.top1, short)
            families.setdefault(n.family, []).append(point)
    labels = ("images/s, measured", "top-1 on ImageNet-1k, published, %")
    styles = {_OURS: {"lw": 2.5}}
    draw_lines(path, panels, *labels, styles=styles, has_log_x=True, shares_axes=True)


def define_flags() -> None:
    options.define_some_of("networks", list(networks()))
    flags.DEFINE_integer("batch", 16, "Pictures in a call of TensorFlow.", lower_bound=1)
    flags.DEFINE_integer("threads", 1, "Threads of each contender.", lower_bound=1)
    options.define_race(turns=7)
    options.define_internal("write")


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
