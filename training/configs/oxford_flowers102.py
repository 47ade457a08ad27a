"""The released LeViT-256 fine-tuned on Oxford Flowers-102, one of the paper's transfer sets.

    python -m training.main --config=oxford_flowers102 --output=DIR --strategy=mirrored
    python -m training.main --config=oxford_flowers102 --output=DIR --set=variant=LeViT128S

Needs the TFDS set oxford_flowers102, prepared. BatchNorm keeps its moving statistics, as in the
official code. The paper does not give the other settings of its fine-tuning; these are ours.

Cost: 1,500 steps. The paper has the top-1 to expect in its table of transfer results. Nobody
has run it here.
"""

import dataclasses

from training.configs.cifar10 import CONFIG as CIFAR10

CONFIG = dataclasses.replace(
    CIFAR10,
    dataset="oxford_flowers102",
    split_train="train+validation",  # 2,040 pictures
    split_test="test",
    epochs=500,
)
