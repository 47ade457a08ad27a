"""The recipe's training step in PyTorch, with timm's parts, beside the one of this package.

Both sides get the same initial weights, batches and teacher. float32, drop_path off.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

import levit_tf
from levit_tf.variants import get_variant
from levit_tf.weights.pytorch_weights import load_state_dict, to_state_dict
from tests.support.randomize import random_images, randomize_torch
from tests.support.references import timm_reference
from training.loop.step import StepOptions, make_train_step
from training.optim.batch_norm import prepare_batch_norm
from training.optim.ema import Ema
from training.optim.losses import Distillation
from training.optim.optimizer import AdamW
from training.optim.schedule import WarmupCosine

# Few steps, so that all of the schedule is seen: warm-up, cosine and cool-down.
EPOCHS, WARMUP_EPOCHS, COOLDOWN_EPOCHS = 7, 2, 1
PEAK_RATE, WARMUP_RATE, MIN_RATE = 1e-3, 1e-6, 1e-5
WEIGHT_DECAY, CLIP_FACTOR, EMA_DECAY = 0.025, 0.01, 0.99996


@dataclasses.dataclass(frozen=True)
class Case:
    """What is trained.

    Attributes:
      variant: name of the network.
      steps: how many.
      batch: pictures in each.
      classes: of pictures and teacher.
      loss: with the recipe's values.
    """

    variant: str
    steps: int
    batch: int
    classes: int = 10
    loss: Distillation = Distillation("hard")  # noqa: RUF009, frozen

    @property
    def size(self) -> tuple[int, int]:
        return (get_variant(self.variant).input_size,) * 2

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.steps // (EPOCHS + COOLDOWN_EPOCHS))

    def batches(self):
        """Images (batch, height, width, 3) and targets (batch, classes), as after mixup."""
        rng = np.random.default_rng(0)
        for step in range(self.steps):
            images = random_images(self.size, self.batch, seed=step)
            one, other = np.eye(self.classes)[rng.integers(self.classes, size=(2, self.batch))]
            share = rng.beta(0.8, 0.8)
            targets = 0.9 * (share * one + (1 - share) * other) + 0.1 / self.classes
            yield images, targets.astype(np.float32)

    def teacher_kernel(self) -> np.ndarray:
        """A linear teacher of the mean colour, (3, classes)."""
        return np.random.default_rng(1).normal(0, 1, (3, self.classes)).astype(np.float32)


@dataclasses.dataclass
class Trained:
    """What came out.

    Attributes:
      losses: of each step.
      state: final weights by timm's keys.
      ema: the averaged weights by timm's keys.
    """

    losses: list[float]
    state: dict[str, np.ndarray]
    ema: dict[str, np.ndarray]


def reference_of(case: Case):
    """timm's network with state everywhere."""
    reference = timm_reference(case.variant, case.size, num_classes=case.classes)
    randomize_torch(reference.module, case.size)
    return reference


def train_pytorch(case: Case) -> Trained:
    """The loop of main.py and engine.py on timm's optimizer, clipping, schedule and average."""
    reference = reference_of(case)
    import torch
    from timm.optim import create_optimizer_v2
    from timm.scheduler import CosineLRScheduler
    from timm.utils.agc import adaptive_clip_grad
    from timm.utils.model_ema import ModelEma

    model = reference.module
    model.distilled_training = True
    average = ModelEma(model, EMA_DECAY)
    optimizer = create_optimizer_v2(
        model, "adamw", lr=PEAK_RATE, weight_decay=WEIGHT_DECAY, eps=1e-8
    )
    schedule = CosineLRScheduler(
        optimizer,
        EPOCHS,
        lr_min=MIN_RATE,
        warmup_t=WARMUP_EPOCHS,
        warmup_lr_init=WARMUP_RATE,
        cycle_limit=1,
    )
    kernel = torch.from_numpy(case.teacher_kernel())
    model.train()
    losses = []
    for step, (images, targets) in enumerate(case.batches()):
        schedule.step(step // case.steps_per_epoch)
        images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())  # to NCHW
        head, head_dist = model(images)
        taught = images.mean((2, 3)) @ kernel
        loss = official_loss(case.loss, head, head_dist, torch.from_numpy(targets), taught)
        optimizer.zero_grad()
        loss.backward()
        adaptive_clip_grad(model.parameters(), CLIP_FACTOR)
        optimizer.step()
        average.update(model)
        losses.append(loss.item())
    states = (m.state_dict() for m in (model, average.ema))
    return Trained(losses, *({k: v.numpy().copy() for k, v in s.items()} for s in states))


def official_loss(loss: Distillation, head, head_dist, targets, taught):
    """The formulas of losses.py in PyTorch, and timm's SoftTargetCrossEntropy."""
    from torch.nn import functional as F  # noqa: N812, everybody's name for it

    base = -(targets * F.log_softmax(head, dim=-1)).sum(-1).mean()
    if loss.kind == "hard":
        distilled = F.cross_entropy(head_dist, taught.argmax(dim=1))
    else:
        expected = F.log_softmax(taught / loss.tau, dim=1)
        found = F.log_softmax(head_dist / loss.tau, dim=1)
        divergence = F.kl_div(found, expected, reduction="sum", log_target=True)
        distilled = divergence * loss.tau**2 / head_dist.numel()
    return (1 - loss.alpha) * base + loss.alpha * distilled


def train_keras(case: Case, **step_options) -> Trained:
    """The same with this package's step; `step_options` are of `StepOptions`."""
    state = reference_of(case).state()

    def network():
        return levit_tf.LeViT(case.variant, classes=case.classes, heads="both", drop_path_rate=0.0)

    model = network()
    load_state_dict(model, state)
    prepare_batch_norm(model, replicas=1)
    schedule = WarmupCosine(
        PEAK_RATE, EPOCHS, case.steps_per_epoch, WARMUP_EPOCHS, WARMUP_RATE, MIN_RATE
    )
    optimizer = AdamW(model.trainable_variables, schedule, WEIGHT_DECAY, CLIP_FACTOR)
    average = Ema(model, network(), EMA_DECAY)
    kernel = tf.constant(case.teacher_kernel())
    train_step = make_train_step(
        model,
        optimizer,
        tf.distribute.get_strategy(),
        StepOptions(case.batch, **step_options),
        loss=case.loss,
        teacher=lambda images: tf.reduce_mean(images, axis=(1, 2)) @ kernel,
        ema=average,
    )
    losses = [
        float(train_step(tf.constant(images), tf.constant(targets), tf.constant(0.0))[0])
        for images, targets in case.batches()
    ]
    return Trained(losses, to_state_dict(model, "timm"), to_state_dict(average.model, "timm"))


def largest_difference(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """Largest norm of a variable's difference, relative to the norm of the variable."""
    return max(
        float(np.linalg.norm(found[key] - value) / np.linalg.norm(value))
        for key, value in expected.items()
        if value.dtype == np.float32 and key in found
    )
