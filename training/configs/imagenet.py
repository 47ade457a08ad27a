"""LeViT-256 on ImageNet-1k by the official recipe, distilled from RegNetY-16GF.

    python -m training.main --config=imagenet --output=DIR --strategy=tpu --tpu=NAME
    python -m training.main --config=imagenet --output=DIR --strategy=mirrored

Needs the TFDS set imagenet2012, prepared, and the teacher of DeiT, regnety_160-a5fe301d.pth, in the
working directory (or --set=teacher=FILE). `imagenet_128s`, `imagenet_128`, `imagenet_192` and
`imagenet_384` are the paper's other networks.

Cost (the paper's): 3 to 5 days on 32 GPUs. Top-1 (the paper's): 81.6 %. Nobody has run it here.
"""

from training.config import Config

CONFIG = Config(
    dataset="imagenet2012",
    variant="LeViT256",
    batch_size=2048,  # 8 processes of 256, as the official command
    distillation="hard",
    teacher="regnety_160-a5fe301d.pth",
    ema_warmup=False,  # as in the official code
    eval_epochs=20,
)
