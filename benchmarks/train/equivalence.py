"""Trains a LeViT here and in PyTorch side by side, and prints how far the losses are apart.

    python -m benchmarks.train.equivalence --variant=LeViT128S --steps=50 --batch=8

Same initial weights with random statistics and attention biases, same pictures, targets and
teacher; the optimizer, clipping, schedule and moving average of the other side are timm's.
"""

from __future__ import annotations

from absl import flags

from benchmarks.support import options, results
from benchmarks.support.pictures import draw_lines
from levit_common import cli
from levit_tf.variants import get_variant
from tests.support.training.training_parity import (
    Case,
    largest_difference,
    train_keras,
    train_pytorch,
)
from training.optim.losses import Distillation


def main() -> None:
    args = flags.FLAGS
    loss = Distillation(args.distillation, tau=args.tau)
    case = Case(get_variant(args.variant).name, args.steps, args.batch, loss=loss)
    expected, found = train_pytorch(case), train_keras(case, jit_compile=args.jit_compile)
    rows = []
    for step, (theirs, ours) in enumerate(zip(expected.losses, found.losses, strict=True)):
        rows.append((step + 1, float(theirs), float(ours), float(abs(ours - theirs) / abs(theirs))))
    columns = ("step", "PyTorch", "here", "relative difference")
    output = results.publish("equivalence", columns, rows, args.output)
    lines = {"relative difference of the loss": [(row[0], row[3]) for row in rows]}
    draw_lines(output / "equivalence.png", {"": lines}, "step", yscale="log")
    largest = max(difference for *_, difference in rows)
    print(
        f"\nlargest relative difference of a loss {largest:.1e}, of a final variable "
        f"{largest_difference(found.state, expected.state):.1e}, of an averaged variable "
        f"{largest_difference(found.ema, expected.ema):.1e}"
    )


def define_flags() -> None:
    options.define_output()
    flags.DEFINE_string("variant", "LeViT128S", "Which network.")
    flags.DEFINE_integer("steps", 50, "Steps to train for.", lower_bound=1)
    flags.DEFINE_integer("batch", 8, "Pictures in a step.", lower_bound=2)
    flags.DEFINE_enum("distillation", "hard", ["hard", "soft"], "Kind of distillation.")
    flags.DEFINE_float("tau", 1.0, "Temperature of soft distillation.", lower_bound=0.0)
    flags.DEFINE_bool("jit_compile", False, "Compile the step here with XLA.")


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
