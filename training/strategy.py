"""Distribution strategies by name."""

from __future__ import annotations

import tensorflow as tf

STRATEGIES = ("default", "onedevice", "mirrored")


def make_strategy(name: str) -> tf.distribute.Strategy:
    """Creates a strategy.

    Args:
      name: "default" is TensorFlow's own choice of device; "onedevice" the first GPU, or the CPU;
        "mirrored" all GPUs of this machine, or all logical CPUs where it has none.

    Raises:
      ValueError: unknown name; the message lists them.
    """
    if name not in STRATEGIES:
        raise ValueError(f"--strategy must be one of {', '.join(STRATEGIES)}. Received: {name!r}")
    if name == "default":
        return tf.distribute.get_strategy()
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    names = [device.name for device in devices]
    if name == "onedevice":
        return tf.distribute.OneDeviceStrategy(names[0])
    return tf.distribute.MirroredStrategy(names)
