"""LeViT on a GPU: Keras' JAX backend against PyTorch with torch.compile, bfloat16.

    KERAS_BACKEND=jax python -m benchmarks.train.accelerator
    KERAS_BACKEND=jax python -m benchmarks.train.accelerator --platform=cpu --batches=8 --side=1024

Two measurements: inference with BatchNorm folded and both heads averaged, and a training step:
forward and backward pass, half of the cross-entropy of each head, AdamW. Here these are a
`jax.jit` each; the PyTorch side is timm's LeViT, compiled, with PyTorch's fused AdamW. Weights of a
training step stay in float32. Each contender runs in a process of its own, and they take turns;
medians. Batches, random, are on the device already.

A TFLOP/s counts two operations a multiply-add, and three forward passes for a training step; the
share is of the bfloat16 matrix product that PyTorch reaches on the same device in the same run.
Needs JAX and PyTorch for the device, Keras and timm, but not TensorFlow. On a CPU it shows that it
works, and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
from absl import flags

from benchmarks.support import contenders, options, results
from converters.speed.turns import Times, serve_turns
from levit_common import cli

PEAK = "matmul"
INFERENCE = ("keras_inference", "pytorch_inference")
TRAINING = ("keras_training", "pytorch_training")
CLASSES = 1000
_RATE, _WEIGHT_DECAY = 1e-4, 0.025
Call = Callable[[], object]


def pictures_and_targets(variant: str, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures, (batch, height, width, 3), and probabilities of the classes, (batch, classes)."""
    from levit_tf.variants import get_variant

    side = get_variant(variant).input_size
    rng = np.random.default_rng(0)
    pictures = rng.standard_normal((batch, side, side, 3), np.float32)
    targets = rng.random((batch, CLASSES), np.float32)
    return pictures, targets / targets.sum(axis=1, keepdims=True)


def keras_inference(variant: str, batch: int) -> Call:
    """The deploy graph with weights and activations in bfloat16."""
    import jax
    import keras

    import levit_tf

    def in_bfloat16(layer):
        config = layer.get_config()
        if isinstance(layer, keras.layers.Layer):  # not a single operation
            config["dtype"] = "bfloat16"
        return type(layer).from_config(config)

    fused = levit_tf.fuse(levit_tf.LeViT(variant, classes=CLASSES))
    model = keras.models.clone_model(fused, clone_function=in_bfloat16)
    model.set_weights(fused.get_weights())
    trainable = [variable.value for variable in model.trainable_variables]
    others = [variable.value for variable in model.non_trainable_variables]
    pictures = jax.numpy.asarray(pictures_and_targets(variant, batch)[0], jax.numpy.bfloat16)
    forward = jax.jit(lambda *args: model.stateless_call(*args, training=False)[0])
    return lambda: jax.block_until_ready(forward(trainable, others, pictures))


def keras_training(variant: str, batch: int) -> Call:
    """A step with Keras' mixed precision and AdamW."""
    import jax
    import keras

    import levit_tf

    keras.config.set_dtype_policy("mixed_bfloat16")
    model = levit_tf.LeViT(variant, classes=CLASSES, heads="both")
    optimizer = keras.optimizers.AdamW(_RATE, weight_decay=_WEIGHT_DECAY)
    optimizer.build(model.trainable_variables)
    state = [
        [variable.value for variable in variables]
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
            optimizer.variables,
        )
    ]
    pictures, targets = map(jax.numpy.asarray, pictures_and_targets(variant, batch))

    def loss_of(trainable, others, pictures, targets):
        logits, others = model.stateless_call(trainable, others, pictures, training=True)
        losses = [
            keras.losses.categorical_crossentropy(targets, head, from_logits=True)
            for head in logits.values()
        ]
        return sum(loss.mean() for loss in losses) / len(losses), others

    @jax.jit
    def step(trainable, others, optimized, pictures, targets):
        gradient = jax.value_and_grad(loss_of, has_aux=True)
        (loss, others), gradients = gradient(trainable, others, pictures, targets)
        trainable, optimized = optimizer.stateless_apply(optimized, gradients, trainable)
        return loss, [trainable, others, optimized]

    def run():
        nonlocal state
        loss, state = step(*state, pictures, targets)
        return float(loss)

    return run


def pytorch_inference(variant: str, batch: int) -> Call:
    """timm's LeViT, BatchNorm folded, weights and activations in bfloat16, compiled."""
    import torch

    module = _timm(variant).eval()
    from timm.utils.model import reparameterize_model

    module = reparameterize_model(module).to(flags.FLAGS.platform, torch.bfloat16)
    pictures = _to_torch(pictures_and_targets(variant, batch)[0]).to(torch.bfloat16)
    compiled = torch.compile(module)

    def run():
        with torch.inference_mode():
            found = compiled(pictures)
        if found.is_cuda:
            torch.cuda.synchronize()
        return found

    return run


def pytorch_training(variant: str, batch: int) -> Call:
    """timm's LeViT under autocast, compiled."""
    import torch

    platform = flags.FLAGS.platform
    module = _timm(variant).train().to(platform)
    module.distilled_training = True
    compiled = torch.compile(module)
    optimizer = torch.optim.AdamW(
        module.parameters(), _RATE, weight_decay=_WEIGHT_DECAY, fused=True
    )
    pictures, targets = pictures_and_targets(variant, batch)
    pictures, targets = _to_torch(pictures), torch.from_numpy(targets).to(platform)

    def run():
        with torch.autocast(platform, torch.bfloat16):
            logits = compiled(pictures)
        losses = [torch.nn.functional.cross_entropy(head.float(), targets) for head in logits]
        loss = sum(losses) / len(losses)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


def _timm(variant: str):
    from tests.support.references import timm_reference

    return timm_reference(variant, num_classes=CLASSES).module


def _to_torch(pictures: np.ndarray):
    """(batch, height, width, 3) -> (batch, 3, height, width) on the device."""
    import torch

    return torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()).to(flags.FLAGS.platform)


def matmul() -> Call:
    """A product of two square matrices in bfloat16."""
    import torch

    side = flags.FLAGS.side
    matrix = torch.ones((side, side), dtype=torch.bfloat16, device=flags.FLAGS.platform)
    return lambda: (matrix @ matrix)[0, 0].item()


def prepare(contender: str, variant: str, batch: int) -> Call:
    """A function that does once what the contender is measured by, and waits for the end of it."""
    if contender == PEAK:
        return matmul()
    makers = (keras_inference, pytorch_inference, keras_training, pytorch_training)
    make = dict(zip((*INFERENCE, *TRAINING), makers, strict=True))
    return make[contender](variant, batch)


def _rows(variant: str, batch: int, times: dict[str, Times]) -> list[tuple]:
    import levit_tf

    forward = 2 * levit_tf.count_flops(levit_tf.LeViT(variant)) * batch
    peak = 2 * flags.FLAGS.side**3 / (1e9 * times[PEAK].ms)
    rows = []
    for ours, theirs, passes in ((*INFERENCE, 1), (*TRAINING, 3)):
        for name in (ours, theirs):
            found = times[name]
            rate = passes * forward / (1e9 * found.ms)
            ratio = found.ms / times[theirs].ms
            speed = (1e3 * batch / found.ms, rate, rate / peak)
            rows.append((variant, batch, name, found.ms, found.spread, ratio, *speed))
    return rows


COLUMNS = (
    *("variant", "batch", "contender", "ms", "spread", "ratio to PyTorch"),
    *("images/s", "TFLOP/s", "share of peak"),
)


def main() -> None:
    args = flags.FLAGS
    import keras

    if keras.backend.backend() != "jax":
        raise ValueError(
            f"expected Keras' JAX backend: set KERAS_BACKEND=jax. Received: "
            f"{keras.backend.backend()}"
        )
    if args.worker:
        (batch,) = args.batches
        serve_turns(prepare(args.worker, args.variant, int(batch)))
        return
    # Contenders share the device's memory; what starts first must not take nearly all of it.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("JAX_PLATFORMS", "cuda" if args.platform == "cuda" else "cpu")
    rows = []
    for batch in args.batches:
        settings = {"variant": args.variant, "batches": batch}
        settings |= {"platform": args.platform, "side": args.side}
        cores = len(os.sched_getaffinity(0))
        running = {
            name: contenders.start(cores, worker=name, **settings)
            for name in (PEAK, *INFERENCE, *TRAINING)
        }
        rows += _rows(args.variant, int(batch), contenders.race(running))
        results.write("accelerator", COLUMNS, rows, args.output)
    results.publish("accelerator", COLUMNS, rows, args.output)


def define_flags() -> None:
    flags.DEFINE_string("variant", "LeViT256", "Variant to measure.")
    flags.DEFINE_list("batches", ["256", "512", "1024", "2048"], "Pictures in a call.")
    flags.DEFINE_enum("platform", "cuda", ["cuda", "cpu"], "What it runs on.")
    flags.DEFINE_integer("side", 8192, "Side of the matrices for the peak.", lower_bound=1)
    options.define_race(turns=7, seconds=1.0)


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
