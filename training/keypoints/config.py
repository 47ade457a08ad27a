"""The configuration of a training for joints: one frozen dataclass."""

from __future__ import annotations

import dataclasses

from training import config_checks

DATASETS = (
    "lsp:FOLDER (with joints.mat), coco:FILE.json (pictures in the folder `images` beside it, or "
    "FILE.json::FOLDER), csv:FILE.csv, dhp19:FOLDER"
)


@dataclasses.dataclass(frozen=True)
class KeypointConfig:
    """The fields of a run.

    Attributes:
      dataset: people with joints, see `training.keypoints.sources`.
      variant: name of the network, one of `levit_tf.list_variants()`.
      input_size: (height, width) of the pictures, pixels.
      init_from: what the backbone begins with: None for random weights, "imagenet" for the released
        ones, a `.keras` file of the same variant, or a repository on the hub, "hf://OWNER/NAME".
        With `qat` it is the final.keras of a run that was trained for joints, or its folder.
      qat: quantisation-aware training for a recipe of `converters.to_tflite`: "int8" or
        "int8_full". --set=qat=true is int8.
      head: "simcc" or "heatmap", see `levit_tf.keypoints.network`.
      sigma: standard deviation of the Gaussian that is learned, pixels; 0 for a 32nd of the longer
        side.
      epochs: passes over the training people.
      batch_size: people in a step.
      learning_rate: highest rate of AdamW; linear warm-up over the first epoch, then a cosine.
      weight_decay: AdamW's; not on biases, BatchNorm and attention biases.
      rotation: degrees in either direction.
      scale_change: the person becomes larger or smaller by up to this share.
      shift: share of the input's sides in either direction.
      flip: probability of a mirror image.
      seed: of the initial weights of the head, the order and all draws.
    """

    dataset: str = "lsp:lspet"
    variant: str = "LeViT128S"
    input_size: tuple[int, int] | None = (128, 128)
    init_from: str | None = None
    qat: str | None = None
    head: str = "simcc"
    sigma: float = 0.0
    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    rotation: float = 40.0
    scale_change: float = 0.25
    shift: float = 0.08
    flip: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        from levit_tf.keypoints.network import HEADS

        config_checks.check_types(self)
        if self.head not in HEADS:
            raise ValueError(f"head must be one of {HEADS}. Received: {self.head!r}")
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1. Received: {getattr(self, name)}")
        if self.qat is not None:
            config_checks.check_values({"qat": self.qat})
            if self.init_from in (None, config_checks.RELEASED):
                raise ValueError(
                    f"qat={self.qat!r} begins with a trained network: set init_from to the "
                    f"final.keras of a run for joints. Received: {self.init_from!r}"
                )
        bounds = {"flip": 1, "scale_change": 0.9, "shift": 0.5, "rotation": 180}
        for name, most in bounds.items():
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be 0 to {most}. Received: {getattr(self, name)}")

    def __str__(self) -> str:
        fields = dataclasses.asdict(self)
        width = max(map(len, fields))
        return "\n".join(f"{name:{width}} {value!s}" for name, value in fields.items())
