"""Fine-tunes a released LeViT-256 at another resolution, 288x288 pixels.

    python -m training.main --config=imagenet_finetune --output=DIR --strategy=mirrored
    python -m training.main --config=imagenet_finetune --output=DIR --strategy=mirrored \\
        --set=distillation=hard --set=teacher=regnety_160-a5fe301d.pth

Without a teacher, one head is trained in inference mode (with BatchNorm's moving statistics), as in
the official code, which does not allow a teacher here. With a teacher, both heads are trained.

Cost: 30 of the recipe's 1000 epochs, each 1.7 times as long. The paper reports no result for this,
and nobody has run it here.
"""

from training.config import Config

CONFIG = Config(
    dataset="imagenet2012",
    variant="LeViT256",
    input_size=(288, 288),
    init_from="imagenet",
    freeze_batch_norm=True,
    epochs=30,
    warmup_epochs=2,
    batch_size=512,
    learning_rate=5e-5,
    min_learning_rate=1e-6,
    ema_warmup=False,
)
