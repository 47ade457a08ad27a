"""Top-1 after the same training here and in PyTorch, epoch by epoch.

    python -m benchmarks.train.top1_beside_pytorch --images=CIFAR10 --output=cifar10
    python -m benchmarks.train.top1_beside_pytorch --images=IMAGENETTE --output=imagenette \
        --epochs=10 --seeds=2 --config=imagefolder_scratch

The folder has train/CLASS/* and test/ or val/CLASS/*. Both sides train the network of the config,
by default `cifar10_scratch`, by its recipe but for the moving average, each from random weights by
its own rules, on the very same batches of augmented pictures. The PyTorch side is timm's LeViT with
timm's optimizer and the same learning rate at each step. Writes a JSON file and a PNG; `--side`
trains one of them only, so that both can run at the same time, `--first_seed` continues with more
seeds, and a later call with `--compare` puts all of these JSON files into one table and picture.
CIFAR-10 costs about 3 minutes an epoch and seed on one core for both sides.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from absl import flags

from levit_common import cli
from levit_common.json_files import write_json

SIDES = {"ours": "levit_tf", "pytorch": "PyTorch, timm"}
COLORS = {"ours": "tab:blue", "pytorch": "tab:orange"}
Curve = list[float]


def session_of(images: str, epochs: int, seed: int):
    """The config of `--config` and `--set`, without the moving average, as a session."""
    from training.config import load_config, override
    from training.loop.session import make_session
    from training.run import load_config_data
    from training.strategy import make_strategy

    settings = (
        *(f"dataset=imagefolder:{images}", f"epochs={epochs}", "cooldown_epochs=0"),
        *("ema_decay=0", f"seed={seed}", *flags.FLAGS.set),
    )
    config = load_config(flags.FLAGS.config)
    if config.warmup_epochs:
        settings = (*settings, "warmup_epochs=1")
    config = override(config, settings)
    return make_session(config, load_config_data(config), make_strategy("default"))


def train_ours(session) -> Curve:
    """Top-1 after each epoch of this package's training."""
    import tensorflow as tf

    step, evaluate = session.train_step(), session.evaluators().raw
    stop = tf.constant(0.0)
    return _curve(session, lambda images, targets: step(images, targets, stop), evaluate)


def train_pytorch(session) -> Curve:
    """The same in PyTorch, on the session's batches."""
    from tests.support.references import timm_reference
    from training.loop.recipe import make_rates

    config = session.config
    rates = make_rates(config, session.schedule.steps_per_epoch)
    size = session.data.input_size
    classes = len(session.data.class_names)
    reference = timm_reference(config.variant, size, distilled=False, num_classes=classes)
    import torch
    from timm.optim import create_optimizer_v2
    from timm.utils.agc import adaptive_clip_grad

    torch.set_num_threads(flags.FLAGS.threads)
    torch.manual_seed(config.seed)
    model = reference.module
    for module in model.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            module.reset_parameters()
    head = model.head.linear
    torch.nn.init.trunc_normal_(head.weight, std=0.02)
    torch.nn.init.zeros_(head.bias)
    optimizer = create_optimizer_v2(model, "adamw", lr=0.0, weight_decay=config.weight_decay)
    done = 0

    def channels_first(images) -> torch.Tensor:
        # (batch, height, width, 3) -> (batch, 3, height, width)
        return torch.from_numpy(images.numpy().transpose(0, 3, 1, 2).copy())

    def step(images, targets) -> None:
        nonlocal done
        for group in optimizer.param_groups:
            group["lr"] = float(rates(done))
        done += 1
        logits = torch.log_softmax(model(channels_first(images)), dim=-1)
        loss = -(torch.from_numpy(targets.numpy()) * logits).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        if config.clip_factor:
            adaptive_clip_grad(model.parameters(), config.clip_factor)
        optimizer.step()

    def evaluate() -> float:
        right = count = 0
        with torch.no_grad():
            model.eval()
            for images, labels in session.data.test_dataset(batch=config.batch_size):
                found = model(channels_first(images)).argmax(1).numpy()
                right, count = right + (found == labels.numpy()).sum(), count + len(found)
            model.train()
        return right / count

    model.train()
    return _curve(session, step, evaluate)


def _curve(session, step: Callable, evaluate: Callable[[], float]) -> Curve:
    batches: Iterator = session.train_batches(0)
    curve = []
    for epoch in range(session.schedule.epochs):
        start = time.perf_counter()
        for _ in range(session.schedule.steps_per_epoch):
            step(*next(batches))
        seconds = time.perf_counter() - start
        curve.append(100 * float(evaluate()))
        print(f"epoch {epoch + 1}: top-1 {curve[-1]:.2f} %, {seconds:.0f} s", flush=True)
    return curve


def write(results: dict[str, list[Curve]], output: str) -> None:
    """Prints the table, and writes the JSON file and the picture."""
    from levit_common.figures import make_figure, save_figure

    print(
        "| side | final top-1, %, of each seed | mean | standard deviation |\n|---|---|---:|---:|"
    )
    figure = make_figure(7, 4.5)
    axes = figure.subplots()
    for side, curves in sorted(results.items()):
        finals = [curve[-1] for curve in curves]
        deviation = statistics.stdev(finals) if len(finals) > 1 else float("nan")
        shown = ", ".join(f"{final:.2f}" for final in finals)
        print(f"| {SIDES[side]} | {shown} | {np.mean(finals):.2f} | {deviation:.2f} |")
        for number, curve in enumerate(curves):
            label = None if number else f"{SIDES[side]}, {len(curves)} seeds"
            axes.plot(range(1, len(curve) + 1), curve, color=COLORS[side], alpha=0.7, label=label)
    axes.set(xlabel="epoch", ylabel="top-1, %", title=flags.FLAGS.title)
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, Path(f"{output}.png"))
    write_json(f"{output}.json", results)


def main() -> None:
    args = flags.FLAGS
    if args.compare:
        results = {}
        for name in args.compare:
            for side, curves in json.loads(Path(name).read_text(encoding="utf-8")).items():
                results.setdefault(side, []).extend(curves)
        write(results, args.output)
        return
    if args.images is None:
        raise ValueError("--images: name the folder of pictures, or earlier files with --compare.")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    train = {"ours": train_ours, "pytorch": train_pytorch}
    results = {}
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for side in SIDES if args.side == "both" else [args.side]:
            print(f"{SIDES[side]}, seed {seed}", flush=True)
            curve = train[side](session_of(args.images, args.epochs, seed))
            results.setdefault(side, []).append(curve)
    write(results, args.output)


def define_flags() -> None:
    flags.DEFINE_string("images", None, "Folder of pictures: train/CLASS/*, test/CLASS/*.")
    flags.DEFINE_string("config", "cifar10_scratch", "Name of a module in training.configs.")
    flags.DEFINE_multi_string("set", [], "field=value of the config to change; may be repeated.")
    flags.DEFINE_string(
        "title", "Trained from scratch on the same batches", "Title of the picture."
    )
    flags.DEFINE_string("output", "cifar10", "Where to write, without the suffix.")
    flags.DEFINE_integer("epochs", 6, "Epochs to train for.", lower_bound=2)
    flags.DEFINE_integer("seeds", 3, "Runs of each side.", lower_bound=1)
    flags.DEFINE_integer("first_seed", 0, "Seed of the first run.", lower_bound=0)
    flags.DEFINE_integer("threads", 2, "Threads of every side.", lower_bound=1)
    flags.DEFINE_enum("side", "both", ["both", *SIDES], "What to train.")
    flags.DEFINE_list("compare", [], "JSON files of earlier runs, to be put together.")


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
