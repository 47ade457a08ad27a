"""Trains on 1,000 to 100,000 pictures of your own from random weights, on a CPU or one GPU.

    python -m training.main --config=imagefolder_scratch --output=DIR \\
        --set=dataset=imagefolder:PATH

`training.plan` chooses the fields that are AUTO and prints the reasons. If trained weights are
available, `imagefolder` is faster and better. docs/training.md has a section "when it does not
train", and explains how a teacher helps.

Cost: 12,000 steps of 64 pictures, and at least 30 epochs. docs/training.md has what a LeViT-128S
reached on Imagenette, and docs/levit_mini.md a smaller network with the same recipe.
"""

import dataclasses

from training.configs.imagefolder import CONFIG as IMAGEFOLDER

CONFIG = dataclasses.replace(
    IMAGEFOLDER,
    init_from=None,
    input_size=(128, 128),
    weight_decay=0.05,
    min_learning_rate=1e-5,
    mixing_probability=0.3,
    cutmix=1.0,
    eval_epochs=5,
    checkpoint_epochs=2,
)
