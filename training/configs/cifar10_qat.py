"""The network of `cifar10_scratch`, trained on for the mixed int8 file.

    python -m training.main --config=cifar10_scratch --output=runs/cifar10
    python -m training.main --config=cifar10_qat --output=runs/cifar10-int8
    python -m training.main --config=cifar10_qat --output=runs/cifar10-full --set=qat=int8_full

The float network teaches, without labels: its answers are what is to survive.
"""

from training.config import Config

CONFIG = Config(
    dataset="cifar10",
    variant="LeViTTiny",
    init_from="runs/cifar10/final.keras",
    qat="int8",
    distillation="soft",
    distillation_alpha=1.0,
    epochs=2,
    warmup_epochs=0,
    batch_size=256,
    learning_rate=2e-5,  # 1e-5 at this batch
    min_learning_rate=1e-6,
    weight_decay=0.0,
    clip_factor=0.0,
    ema_decay=0.0,
    mixup=0.0,
    cutmix=0.0,
    rand_augment=None,
    erasing=0.0,
    repeats=1,
)
