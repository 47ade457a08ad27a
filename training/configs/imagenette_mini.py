"""Trains LeViTMini on Imagenette from random weights; the package contains the resulting weights.

    python -m training.main --config=imagenette_mini --output=DIR \\
        --set=dataset=imagefolder:PATH

PATH is Imagenette, ten classes of ImageNet (github.com/fastai/imagenette): a folder with train/ and
val/, each with one sub-folder per class.

Cost: 11,840 steps. docs/levit_mini.md has the time, the curve and the top-1.
"""

from training.config import Config

CONFIG = Config(
    dataset="imagefolder:imagenette",
    variant="LeViTMini",
    epochs=80,
    batch_size=64,
    fill_batches=True,
    learning_rate=2e-3,
    rate_batch=None,
    warmup_epochs=0,
    warmup_steps=450,
    warmup_learning_rate=0.0,
    min_learning_rate=1e-5,
    weight_decay=0.05,
    clip_factor=0.0,
    ema_decay=0.999,
    mixup=0.2,
    mixing_probability=0.3,
    rand_augment=None,
    erasing=0.1,
    crop_scale=0.3,
    crop_padding=2,
    repeats=1,
    eval_epochs=10,
    checkpoint_epochs=5,
)
