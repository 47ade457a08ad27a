"""The allowed values of training's flags and fields; importing this does not start TensorFlow."""

from __future__ import annotations

# configs whose networks predict joints rather than classes
KEYPOINT_CONFIGS = ("keypoints", "keypoints_qat")
STRATEGIES = ("default", "onedevice", "mirrored", "multiworker", "tpu")
DISTILLATIONS = ("none", "soft", "hard")
PRECISIONS = ("float32", "bfloat16", "float16")
EMBEDDED_PICTURES = "digits"  # instead of a folder
EVALUATION_BATCH = 256  # pictures in memory at once


def check_strategy(name: str, tpu: str | None, zone: str | None, project: str | None) -> None:
    """Checks the name of a strategy and the flags that belong to it.

    Raises:
      ValueError: the name is unknown, or the flags belong to another strategy.
    """
    if name == "parameterserver":
        raise ValueError(
            "--strategy=parameterserver is not supported: its workers update the weights one after "
            "the other, with gradients of old weights, so BatchNorm over all replicas, the recipe "
            "and an exact resume are impossible. Use multiworker."
        )
    if name not in STRATEGIES:
        raise ValueError(f"--strategy must be one of {', '.join(STRATEGIES)}. Received: {name!r}")
    if name != "tpu" and (tpu or zone or project):
        raise ValueError(
            f"--tpu, --tpu_zone and --gcp_project need --strategy=tpu. Received: {name!r}"
        )
