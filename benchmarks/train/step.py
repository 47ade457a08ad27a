"""Seconds of a training step here and in PyTorch, side by side, as a Markdown table.

    python -m benchmarks.train.step --variant=LeViT128S --batch=32

The whole step of the recipe, given a batch and the teacher's answers: forward and backward pass in
float32, distillation loss, adaptive gradient clipping, AdamW, moving average. The PyTorch sides
are timm's LeViT with timm's optimizer, clipping and average, as the official repository trains
them; `compiled` is the network under `torch.compile`. All sides run in this process on the same
cores, in turns; the first step of a turn is not counted. Ratios are of medians. Takes 8 minutes on
2 cores, of which the compilers take 4.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from absl import flags

from benchmarks.support import options, results
from benchmarks.support.pictures import draw_bars
from converters.speed.turns import in_turns
from levit_common import cli

CLASSES = 1000
SIDES = ("ours", "ours_xla", "pytorch", "pytorch_compiled")
Step = Callable[[], float]


class Batch:
    """Random pictures, mixed targets and a teacher's answers, the same for all sides."""

    def __init__(self, size: int, count: int):
        rng = np.random.default_rng(0)
        self.images = rng.normal(size=(count, size, size, 3)).astype(np.float32)
        self.targets = rng.dirichlet(np.ones(CLASSES), count).astype(np.float32)
        self.taught = rng.normal(size=(count, CLASSES)).astype(np.float32)


def ours(variant: str, batch: Batch, jit_compile: bool = False) -> Step:
    """A step of `training.loop.step`."""
    import tensorflow as tf

    import levit_tf
    from tests.support.training import training_parity as recipe
    from training.loop.step import StepOptions, make_train_step
    from training.optim.batch_norm import prepare_batch_norm
    from training.optim.ema import Ema
    from training.optim.losses import Distillation
    from training.optim.optimizer import AdamW

    def network():
        return levit_tf.LeViT(variant, classes=CLASSES, heads="both", drop_path_rate=0.0)

    model = network()
    prepare_batch_norm(model, replicas=1)
    taught, images, targets, stop = map(
        tf.constant, (batch.taught, batch.images, batch.targets, 0.0)
    )
    step = make_train_step(
        model,
        AdamW(model.trainable_variables, 1e-4, recipe.WEIGHT_DECAY, recipe.CLIP_FACTOR),
        tf.distribute.get_strategy(),
        StepOptions(len(batch.images), jit_compile=jit_compile),
        loss=Distillation("hard"),
        teacher=lambda _: taught,
        ema=Ema(model, network(), recipe.EMA_DECAY),
    )
    return lambda: float(step(images, targets, stop)[0])


def pytorch(variant: str, batch: Batch, compiled: bool = False) -> Step:
    """The same with timm's parts."""
    from tests.support.references import timm_reference
    from tests.support.training import training_parity as recipe
    from training.optim.losses import Distillation

    size = batch.images.shape[1:3]
    model = timm_reference(variant, size, num_classes=CLASSES).module.train()
    import torch
    from timm.optim import create_optimizer_v2
    from timm.utils.agc import adaptive_clip_grad
    from timm.utils.model_ema import ModelEma

    torch.set_num_threads(flags.FLAGS.threads)
    model.distilled_training = True
    average = ModelEma(model, recipe.EMA_DECAY)
    optimizer = create_optimizer_v2(model, "adamw", lr=1e-4, weight_decay=recipe.WEIGHT_DECAY)
    # (batch, height, width, 3) -> (batch, 3, height, width)
    images = torch.from_numpy(batch.images.transpose(0, 3, 1, 2).copy())
    targets, taught = torch.from_numpy(batch.targets), torch.from_numpy(batch.taught)
    network = torch.compile(model) if compiled else model

    def step() -> float:
        loss = recipe.official_loss(Distillation("hard"), *network(images), targets, taught)
        optimizer.zero_grad()
        loss.backward()
        adaptive_clip_grad(model.parameters(), recipe.CLIP_FACTOR)
        optimizer.step()
        average.update(model)
        return loss.item()

    return step


def main() -> None:
    args = flags.FLAGS
    import tensorflow as tf

    from levit_tf.variants import get_variant

    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    batch = Batch(get_variant(args.variant).input_size, args.batch)
    make = {
        "ours": lambda: ours(args.variant, batch),
        "ours_xla": lambda: ours(args.variant, batch, jit_compile=True),
        "pytorch": lambda: pytorch(args.variant, batch),
        "pytorch_compiled": lambda: pytorch(args.variant, batch, compiled=True),
    }
    steps, first = {}, {}
    for side in args.sides:
        start = time.perf_counter()
        steps[side] = make[side]()
        steps[side]()
        first[side] = time.perf_counter() - start
    rows = []
    for side, times in in_turns(steps, args.turns, args.steps).items():
        ms = (times.ms, 1e3 * min(times.wall), 1e3 * max(times.wall))
        rows.append((args.variant, args.batch, side, *ms, 1e3 * args.batch / times.ms, first[side]))
    columns = ("variant", "batch", "step", "ms, median", "lowest", "highest", "images/s")
    columns += ("build and first step, s",)
    output = results.publish("step", columns, rows, args.output)
    ms = {row[2]: row[3] for row in rows}
    label = f"ms a step, {args.variant}, batch {args.batch}"
    draw_bars(output / "step.png", ms, label)
    peers = [ms[side] for side in ms if side.startswith("pytorch")]
    mine = [ms[side] for side in ms if side.startswith("ours")]
    if peers and mine:
        print(f"\nbest PyTorch time / best time here: {min(peers) / min(mine):.2f}")


def define_flags() -> None:
    flags.DEFINE_string("variant", "LeViT128S", "Variant to measure.")
    flags.DEFINE_integer("batch", 32, "Pictures in a step.", lower_bound=2)
    flags.DEFINE_integer("threads", 2, "Threads of every side.", lower_bound=1)
    flags.DEFINE_integer("turns", 9, "Turns of each side.", lower_bound=1)
    flags.DEFINE_integer("steps", 3, "Counted steps in a turn.", lower_bound=1)
    options.define_output()
    options.define_some_of("sides", SIDES)


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
