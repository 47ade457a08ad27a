"""The released LeViT-256 fine-tuned on iNaturalist 2018, one of the paper's transfer sets.

    python -m training.main --config=i_naturalist2018 --output=DIR --strategy=mirrored
    python -m training.main --config=i_naturalist2018 --output=DIR --set=variant=LeViT128S

Needs the TFDS set i_naturalist2018, prepared. BatchNorm keeps its moving statistics, as in the
official code. The paper does not give the other settings of its fine-tuning; these are ours.

Cost: 85,000 steps. The paper has the top-1 to expect in its table of transfer results. Nobody
has run it here.
"""

import dataclasses

from training.configs.cifar10 import CONFIG as CIFAR10

CONFIG = dataclasses.replace(CIFAR10, dataset="i_naturalist2018", split_test="validation")
