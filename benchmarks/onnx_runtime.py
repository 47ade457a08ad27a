"""Time in ONNX Runtime, beside exports of timm's models, as a Markdown table.

    python -m benchmarks.onnx_runtime --variant=LeViT256 --batch=1

Ours is `converters.to_onnx` with a dynamic batch, with and without its rewriting; timm's models,
`levit_*` and `levit_conv_*`, are exported by `torch.onnx.export` with a fixed batch. All of them
take plain RGB pictures, channels-last. Random weights and BatchNorm state, on which time does not
depend. One thread, all files in turns in this process; milliseconds are medians over the turns, of
the processor's time, which other programs on the machine stretch only by using its caches. Takes
about two minutes on two cores.
"""

from __future__ import annotations

import tempfile
import unittest.mock
from pathlib import Path

from absl import flags

from benchmarks.networks import ours, peers
from benchmarks.networks.forms import random_pictures
from benchmarks.support import options, results
from benchmarks.support.pictures import draw_bars
from converters.onnx import onnx_layout
from converters.onnx.conversion import to_onnx
from converters.speed import runtimes
from converters.speed.turns import in_turns
from levit_common import cli
from levit_tf.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from levit_tf.variants import get_variant
from tests.support.randomize import randomize_torch
from tests.support.references import timm_by_name


def _ours(variant: str, folder: Path) -> dict[str, Path]:
    model = ours.levit(variant)
    paths = {"to_onnx": folder / "ours.onnx", "to_onnx, not rewritten": folder / "plain.onnx"}
    to_onnx(model, paths["to_onnx"])
    with unittest.mock.patch.object(onnx_layout, "to_channels_first", return_value=None):
        to_onnx(model, paths["to_onnx, not rewritten"])
    return paths


def _timm(variant: str, folder: Path, batch: int) -> dict[str, Path]:
    import torch
    from timm.utils.model import reparameterize_model

    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))

    class FromPixels(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, images):
            x = images.permute(0, 3, 1, 2)  # (batch, height, width, 3) -> (batch, 3, height, width)
            return self.module((x / 255 - mean) / std)

    size = get_variant(variant).input_size
    paths = {}
    for name, conv in (("timm levit", False), ("timm levit_conv", True)):
        module = timm_by_name(variant, conv=conv).module
        randomize_torch(module)
        module = reparameterize_model(module.eval())  # timm's own fusion
        paths[name] = folder / f"timm{conv}.onnx"
        peers.export_torch(FromPixels(module).eval(), (batch, size, size, 3), paths[name])
    return paths


def main() -> None:
    args = flags.FLAGS
    variant = get_variant(args.variant).name
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = {**_ours(variant, folder), **_timm(variant, folder, args.batch)}
        images = random_pictures(args.batch, get_variant(variant).input_size)
        runners = {name: runtimes.open_onnxruntime(path, images, 1) for name, path in paths.items()}
        found = in_turns(runners, args.turns)
    times = {name: one.cpu_ms for name, one in found.items()}
    ours = times["to_onnx"]
    rows = [(variant, args.batch, name, ms, ours / ms) for name, ms in times.items()]
    columns = ("variant", "batch", "file", "ms", "to_onnx is")
    output = results.publish("onnx_runtime", columns, rows, args.output)
    draw_bars(output / "onnx_runtime.png", times, f"ms, {variant}, batch {args.batch}")


def define_flags() -> None:
    flags.DEFINE_string("variant", "LeViT256", "Variant to measure; one that timm has.")
    flags.DEFINE_integer("batch", 1, "Pictures at once.", lower_bound=1)
    flags.DEFINE_integer("turns", 100, "Turns of each file.", lower_bound=1)
    options.define_output()


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
