"""Pictures of your own, in a folder with a sub-folder for each class, on the released LeViT-128S.

    python -m training.main --config=imagefolder --set=dataset=imagefolder:/path --output=DIR

`training.data.folders` says what the folder looks like. Without a network for the released weights,
--set=init_from=FILE takes a `.keras` file, and --set=init_from=none begins at random (set
epochs=300 and freeze_batch_norm=false then).

Cost and result depend on the pictures: some hundreds a class are enough to begin with.
"""

from training.config import Config

CONFIG = Config(
    dataset="imagefolder:.",
    variant="LeViT128S",
    init_from="imagenet",
    freeze_batch_norm=True,
    epochs=30,
    warmup_epochs=2,
    batch_size=64,
    learning_rate=4e-4,
    min_learning_rate=1e-6,
    ema_decay=0.0,  # too few steps for an average
    repeats=1,
)
