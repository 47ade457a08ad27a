"""The smallest LeViT on CIFAR-10 at 32x32, from random weights: for one CPU or one GPU.

    python -m training.main --config=cifar10_scratch --output=DIR

Needs the TFDS set cifar10, prepared. Cost: 30 epochs of 195 steps, 40 s per epoch on 2 cores.
Nobody has run it to its end yet; 6 epochs give 54 %
(`python -m benchmarks.train.top1_beside_pytorch`).
"""

from training.config import Config

CONFIG = Config(
    dataset="cifar10",
    variant="LeViTTiny",
    epochs=30,
    warmup_epochs=2,
    batch_size=256,
    learning_rate=4e-3,  # 0.002 at this batch
    ema_decay=0.999,
    mixup=0.2,
    cutmix=0.0,
    rand_augment=None,
    erasing=0.0,
    repeats=1,
)
