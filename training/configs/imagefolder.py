"""Fine-tunes the released LeViT-128S on your own pictures, with one sub-folder per class.

    python -m training.main --config=imagefolder --set=dataset=imagefolder:/path --output=DIR

`training.data.folders` describes the layout of the folder. --set=init_from=FILE begins with a
`.keras` file, your own or one of the released weights; --set=init_from=hf://OWNER/NAME begins with
a repository on the Hugging Face hub; --set=init_from=none begins with random weights.

`training.plan` chooses the fields that are AUTO from the number of pictures, the steps and the
weights. A run prints what was chosen and why; --set=FIELD=VALUE sets any of them.

Cost and result depend on the pictures: tens of pictures per class and some minutes are enough to
begin.
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
    fill_batches=True,  # in a folder of 18, dropping two pictures per epoch would halve its steps
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
