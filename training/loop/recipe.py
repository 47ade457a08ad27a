"""Rates, loss, mixing and augmentation of a run, from its configuration."""

from __future__ import annotations

from training.augment import AugmentationSettings, MixingSettings
from training.config import Config
from training.networks.network import input_size
from training.notation import parse_rand_augment
from training.optim.losses import Distillation, ExitsLoss
from training.optim.schedule import StepCosine, WarmupCosine


def make_rates(config: Config, steps_per_epoch: int) -> WarmupCosine | StepCosine:
    """Makes the learning rates of a run, per epoch or, with `warmup_steps`, per step."""
    if config.warmup_steps is None:
        return WarmupCosine(
            config.peak_learning_rate,
            config.epochs,
            steps_per_epoch,
            config.warmup_epochs,
            config.warmup_learning_rate,
            config.min_learning_rate,
        )
    return StepCosine(
        config.peak_learning_rate,
        config.epochs * steps_per_epoch,
        steps_per_epoch,
        config.warmup_steps,
        config.warmup_learning_rate,
        config.min_learning_rate,
    )


def make_loss(config: Config) -> Distillation | ExitsLoss:
    """Makes the loss of a run's networks."""
    base = Distillation(
        config.distillation,
        config.distillation_alpha,
        config.distillation_tau,
        is_mean_of_classes=not config.teacher_head,
    )
    if config.exits is None:
        return base
    if config.exits_end_to_end:
        return ExitsLoss(base, config.exits_alpha, config.exits_weight, whole_weight=1.0)
    return ExitsLoss(base, config.exits_alpha)


def mixing(config: Config) -> MixingSettings:
    """Returns the mixing settings of a configuration."""
    return MixingSettings(
        mixup=config.mixup,
        cutmix=config.cutmix,
        probability=config.mixing_probability,
        switch_probability=config.cutmix_probability,
        label_smoothing=config.label_smoothing,
    )


def augmentation(config: Config) -> AugmentationSettings:
    """Returns the augmentation settings of a configuration."""
    drawn = {"operations": 0}
    if config.rand_augment is not None:
        drawn = parse_rand_augment(config.rand_augment)
    return AugmentationSettings(
        size=input_size(config),
        scale=(config.crop_scale, 1.0),
        padding=config.crop_padding,
        flip=config.flip,
        erasing=config.erasing,
        **drawn,
    )
