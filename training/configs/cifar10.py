"""The released LeViT-256 fine-tuned on CIFAR-10, one of the paper's transfer sets.

    python -m training.main --config=cifar10 --output=DIR --strategy=mirrored
    python -m training.main --config=cifar10 --output=DIR --set=variant=LeViT128S

Needs the TFDS set cifar10, prepared. BatchNorm keeps its moving statistics, as in the official
code. The paper does not give the other settings of its fine-tuning; these are ours.

Cost: 10,000 steps. Top-1 (the paper's): 97.5 % for LeViT-128S, 97.6 % for 128, 98.2 % for 192,
98.1 % for 256 and 98.0 % for 384. Nobody has run it here.
"""

from training.config import Config

CONFIG = Config(
    dataset="cifar10",
    variant="LeViT256",
    init_from="imagenet",
    freeze_batch_norm=True,
    epochs=100,
    warmup_epochs=5,
    batch_size=512,
    learning_rate=2e-4,
    min_learning_rate=1e-6,
    ema_decay=0.9998,  # a run of few steps
    ema_warmup=False,
    repeats=1,
)
