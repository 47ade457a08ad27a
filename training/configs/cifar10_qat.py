"""Quantisation-aware training of the network of `cifar10_scratch` for the mixed int8 file.

    python -m training.main --config=cifar10_scratch --output=runs/cifar10
    python -m training.main --config=cifar10_qat --output=runs/cifar10-int8
    python -m training.main --config=cifar10_qat --output=runs/cifar10-full --set=qat=int8_full

The float network is the teacher, and no labels are used: the goal is to preserve its outputs.

Cost: 390 steps, 2 minutes on 2 CPU cores. The float network had a top-1 of 66.1 %, or 65.9 %
quantised after training as int8 and 65.8 % as int8_full. This training gave 66.2 % and 66.1 %.
"""

import dataclasses

from training.config import Config
from training.configs.digits_qat import CONFIG as DIGITS_QAT

CONFIG = dataclasses.replace(
    DIGITS_QAT,
    dataset="cifar10",
    init_from="runs/cifar10/final.keras",
    epochs=2,
    batch_size=256,
    learning_rate=2e-5,  # 1e-5 at this batch
    flip=Config.flip,
    crop_padding=Config.crop_padding,
)
