"""Pictures of your own, in a folder with a sub-folder for each class, on the released LeViT-128S.

    python -m training.main --config=imagefolder --set=dataset=imagefolder:/path --output=DIR

`training.data.folders` says what the folder looks like. --set=init_from=FILE begins with a `.keras`
file, your own or one of the released weights, and --set=init_from=none with random weights.

What is AUTO is chosen by `training.plan` for the number of pictures, the steps and the weights; a
run prints what was chosen and why, and --set=FIELD=VALUE sets any of it.

Cost and result depend on the pictures: some tens a class are enough to begin with, and minutes.
"""

from training.config import AUTO, Config

CONFIG = Config(
    dataset="imagefolder:.",
    variant="LeViT128S",
    init_from="imagenet",
    freeze_batch_norm=AUTO,
    batch_norm_momentum=AUTO,
    epochs=AUTO,
    batch_size=AUTO,
    fill_batches=True,  # a folder of 18 would lose two pictures of each epoch, half of its steps
    learning_rate=AUTO,
    rate_batch=None,
    head_rate=AUTO,
    warmup_epochs=0,
    warmup_steps=AUTO,
    warmup_learning_rate=0.0,
    min_learning_rate=1e-6,
    clip_factor=0.0,
    ema_decay=AUTO,
    label_smoothing=AUTO,
    mixup=AUTO,
    cutmix=AUTO,
    rand_augment=AUTO,
    erasing=AUTO,
    flip=AUTO,
    crop_scale=AUTO,
    crop_padding=AUTO,
    repeats=1,
)
