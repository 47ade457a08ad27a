"""Trains exits for easy pictures on a trained LeViT, which itself stays unchanged to the bit.

    python -m training.main --config=imagefolder_exits --output=DIR \\
        --set=dataset=imagefolder:PATH --set=variant=LeViT128S --set=init_from=FILE.keras

FILE.keras is a LeViT in train form for the classes of the pictures, such as `final.keras` of
another run; if its input size is not the variant's own, give it: --set=input_size=128.
--set=exits=0:pool,1:pool chooses the branches; --set=teacher=FILE (or hf://OWNER/NAME)
--set=distillation=soft gives them a teacher. --set=exits_end_to_end=true trains the network
together with them, and --set=exits_weight=0.3 is the weight of each exit's loss. In that case
init_from may be none, and `learning_rate` should be lower.

`converters.to_dynamic` calibrates and exports the result.

Cost: gradients are computed for the branches only, so an epoch takes about as long as forward
passes over the pictures. docs/dynamic.md has measurements of the time and of the branches'
accuracy.
"""

from training.config import Config

CONFIG = Config(
    dataset="imagefolder:.",
    variant="LeViT128S",
    init_from="final.keras",
    exits="0:attention,1:pool",
    epochs=10,
    batch_size=64,
    fill_batches=True,
    learning_rate=1e-3,
    rate_batch=None,
    warmup_epochs=0,
    warmup_steps=50,
    warmup_learning_rate=0.0,
    min_learning_rate=1e-5,
    clip_factor=0.0,
    ema_decay=0.99,
    mixup=0.0,
    cutmix=0.0,
    rand_augment=None,
    erasing=0.0,
    crop_scale=0.35,
    crop_padding=2,
    repeats=1,
    label_smoothing=0.0,
)
