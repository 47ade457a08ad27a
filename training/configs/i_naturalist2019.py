"""The released LeViT-256 fine-tuned on iNaturalist 2019, one of the paper's transfer sets.

    python -m training.main --config=i_naturalist2019 --output=DIR --strategy=mirrored
    python -m training.main --config=i_naturalist2019 --output=DIR --set=variant=LeViT128S

Needs the TFDS set i_naturalist2019, prepared. BatchNorm keeps its moving statistics, as in the
official code. The paper does not give the other settings of its fine-tuning; these are ours.

Cost: 52,000 steps. The paper has the top-1 to expect in its table of transfer results. Nobody
has run it here.
"""

from training.config import Config

CONFIG = Config(
    dataset="i_naturalist2019",
    split_test="validation",
    variant="LeViT256",
    init_from="imagenet",
    freeze_batch_norm=True,
    epochs=100,
    warmup_epochs=5,
    batch_size=512,
    learning_rate=2e-4,
    min_learning_rate=1e-6,
    ema_decay=0.9998,  # a run of few steps
    repeats=1,
)
