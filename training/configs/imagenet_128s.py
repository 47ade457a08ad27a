"""LeViT-128S on ImageNet-1k by the official recipe; see `training.configs.imagenet`.

    python -m training.main --config=imagenet_128s --output=DIR --strategy=tpu --tpu=NAME

Cost (the paper's): 3 to 5 days on 32 GPUs. Top-1 (the paper's): 76.6 %. Nobody has run it here.
"""

import dataclasses

from training.configs.imagenet import CONFIG as IMAGENET

CONFIG = dataclasses.replace(IMAGENET, variant="LeViT128S")
