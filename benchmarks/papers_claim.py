"""The paper's own measurement in its own runtime: LeViT against EfficientNet in PyTorch.

    python -m benchmarks.papers_claim

"At 80 % ImageNet top-1 accuracy, LeViT is 5 times faster than EfficientNet on the CPU" (arXiv
2104.01136, abstract). The protocol is that of the official speed_test.py: one thread, a batch of 16
random pictures, BatchNorm folded or dropped, `torch.jit.trace`; but its networks run one after the
other, and these in turns, in processes of their own, medians. Networks are timm's.

Prints images a second, and how many times as long EfficientNet takes at the accuracies of LeViT-192
and LeViT-256, its times interpolated between its members (log time over published accuracy). Below
that, another thing: the quickest file of this package in TFLite, one picture a call, against the
same EfficientNet in PyTorch. Accuracies are the publications' (`benchmarks.networks.published`).
Takes ten minutes on two cores. Needs the [bench] extra.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from absl import flags

from benchmarks.networks import ours, peers
from benchmarks.networks.forms import TFLITE, open_form, random_pictures
from benchmarks.networks.published import interpolated, networks
from benchmarks.support import contenders, options, results
from converters.speed.turns import serve_turns
from levit_common import cli

BATCH = 16
AT = {"LeViT192": 80.0, "LeViT256": 81.6}
PYTORCH = "PyTorch"
PAPERS = 5.0  # times, at 80 %


def work(name: str, form: str, folder: Path) -> None:
    """A contender's process."""
    size = networks()[name].size
    if form == PYTORCH:
        from benchmarks.networks.timm_networks import build, without_batch_norm

        module = without_batch_norm(build(_timm_name(name)))
        serve_turns(peers.open_torch(module, random_pictures(BATCH, size), 1, "traced"))
    else:
        serve_turns(open_form(form, folder, random_pictures(1, size), 1))


def _timm_name(name: str) -> str:
    if name.startswith("LeViT"):
        return f"levit_{name.removeprefix('LeViT').lower()}"
    return f"efficientnet_{name.removeprefix('EfficientNet').lower()}"


def measure(folder: Path) -> dict[tuple[str, str], float]:
    """(network, form) -> milliseconds of a picture."""
    chosen = [n.name for n in networks().values() if n.family in ("LeViT", "EfficientNet")]
    entries = [(name, PYTORCH) for name in chosen]
    for name in AT:
        (folder / name).mkdir()
        ours.write_files(ours.levit(name), folder / name, TFLITE.values())
        entries += [(name, form) for form in TFLITE]
    running = {
        (name, form): contenders.start(1, worker=name, form=form, folder=folder / name)
        for name, form in entries
    }
    found = contenders.race(running)
    return {key: times.ms / (BATCH if key[1] == PYTORCH else 1) for key, times in found.items()}


def main() -> None:
    args = flags.FLAGS
    if args.worker:
        work(args.worker, args.form, Path(args.folder))
        return
    with tempfile.TemporaryDirectory() as folder:
        times = measure(Path(folder))
    known = networks()
    rows = [
        (name, form, known[name].top1, known[name].size, ms, 1e3 / ms)
        for (name, form), ms in times.items()
    ]
    columns = ("network", "runtime", "top-1, published", "input", "ms", "images/s")
    results.publish("papers_claim", columns, rows, args.output)
    points = [(known[n].top1, times[n, PYTORCH]) for n in known if n.startswith("EfficientNet")]
    ratios = []
    for name, top1 in AT.items():
        other = interpolated(points, top1)
        for form in (PYTORCH, *TFLITE):
            paper = PAPERS if (top1, form) == (80.0, PYTORCH) else None
            ratios.append((top1, name, form, other / times[name, form], paper))
    print("\nEfficientNet in PyTorch takes so many times as long:\n")
    columns = ("top-1", "against", "in", "times", "the paper says")
    results.publish("papers_claim_ratios", columns, ratios, args.output)


def define_flags() -> None:
    options.define_race(turns=5, seconds=2.0)
    options.define_internal("form")


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
