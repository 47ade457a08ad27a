"""The released LeViT-256 fine-tuned on CIFAR-100, one of the paper's transfer sets.

    python -m training.main --config=cifar100 --output=DIR --strategy=mirrored
    python -m training.main --config=cifar100 --output=DIR --set=variant=LeViT128S

Needs the TFDS set cifar100, prepared. BatchNorm keeps its moving statistics, as in the official
code. The paper does not give the other settings of its fine-tuning; these are ours.

Cost: 10,000 steps. The paper has the top-1 to expect in its table of transfer results. Nobody
has run it here.
"""

import dataclasses

from training.configs.cifar10 import CONFIG as CIFAR10

CONFIG = dataclasses.replace(CIFAR10, dataset="cifar100")
