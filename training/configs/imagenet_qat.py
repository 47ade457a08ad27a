"""Quantisation-aware training of the released LeViT-256 for the mixed int8 file.

    python -m training.main --config=imagenet_qat --output=DIR --strategy=mirrored
    python -m training.main --config=imagenet_qat --output=DIR --set=qat=int8_full
    python -m training.main --config=imagenet_qat --output=DIR --set=init=levit256.keras

Needs the TFDS set imagenet2012, prepared. Labels and the float network's predictions have equal
weight.

Cost: 10,000 steps, each with a forward pass of the float network too. Nobody has run it here.
"""

from training.config import Config

CONFIG = Config(
    dataset="imagenet2012",
    variant="LeViT256",
    init_from="imagenet",
    qat="int8",
    distillation="hard",
    epochs=4,
    warmup_epochs=0,
    batch_size=512,
    learning_rate=2e-5,
    min_learning_rate=1e-6,
    weight_decay=0.0,
    ema_decay=0.999,
    ema_warmup=False,
    mixup=0.0,
    cutmix=0.0,
    rand_augment=None,
    erasing=0.0,
    repeats=1,
)
