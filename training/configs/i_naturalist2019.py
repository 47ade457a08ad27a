"""The released LeViT-256 fine-tuned on iNaturalist 2019, one of the paper's transfer sets.

    python -m training.main --config=i_naturalist2019 --output=DIR --strategy=mirrored
    python -m training.main --config=i_naturalist2019 --output=DIR \\
        --set=dataset=imagefolder:/path/to/pictures

TFDS 4.9 has iNaturalist 2017, 2018 and 2021, not 2019, so this needs the pictures in folders,
train/<class>/ and val/<class>/, in `i_naturalist2019` of the working directory or where
--set=dataset says. BatchNorm keeps its moving statistics, as in the official code. The paper does
not give the other settings of its fine-tuning; these are ours.

Cost: 52,000 steps. The paper has the top-1 to expect in its table of transfer results. Nobody
has run it here.
"""

import dataclasses

from training.configs.cifar10 import CONFIG as CIFAR10

CONFIG = dataclasses.replace(CIFAR10, dataset="imagefolder:i_naturalist2019")
