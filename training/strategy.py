"""Creates distribution strategies by name."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from training.choices import check_strategy


class TPUNotFoundError(ValueError):
    """No TPU was found; the message says what to set."""


def make_strategy(
    name: str, tpu: str | None = None, zone: str | None = None, project: str | None = None
) -> tf.distribute.Strategy:
    """Creates a strategy. With several processes, call it before any TensorFlow op runs.

    Args:
      name: "default" is TensorFlow's own choice of device; "onedevice" the first GPU, or the CPU;
        "mirrored" all GPUs of this machine, or all logical CPUs if it has no GPU; "multiworker" the
        processes in TF_CONFIG; "tpu" a TPU or a slice of several.
      tpu: name or grpc:// address of the TPU; by default TPU_NAME, or the machine's own TPU.
      zone: Google Cloud zone of the TPU, if it is not this machine's.
      project: Google Cloud project of the TPU, if it is not this machine's.

    Raises:
      TPUNotFoundError: "tpu" was asked for, but no TPU was found.
      ValueError: the name is unknown or not supported here; the message says what is.
    """
    check_strategy(name, tpu, zone, project)
    if name == "default":
        return tf.distribute.get_strategy()
    if name == "multiworker":
        return _multi_worker()
    if name == "tpu":
        return _tpu(tpu, zone, project)
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    names = [device.name for device in devices]
    if name == "onedevice":
        return tf.distribute.OneDeviceStrategy(names[0])
    return tf.distribute.MirroredStrategy(names)


def worker_of(strategy: tf.distribute.Strategy) -> int:
    """Returns the index of this process among the workers of a strategy; 0 is the chief."""
    resolver = strategy.cluster_resolver
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 0
    workers = resolver.cluster_spec().as_dict()
    chiefs = len(workers.get("chief", []))
    return resolver.task_id + (chiefs if resolver.task_type == "worker" else 0)


def workers_of(strategy: tf.distribute.Strategy) -> int:
    """Returns the number of processes that train together, each with its own input pipeline."""
    resolver = strategy.cluster_resolver
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) or resolver is None:
        return 1
    workers = resolver.cluster_spec().as_dict()
    return sum(len(workers.get(kind, [])) for kind in ("chief", "worker")) or 1


def meet(strategy: tf.distribute.Strategy) -> None:
    """Waits until all workers have reached this point."""

    @tf.function(autograph=False)
    def count():
        replicas = strategy.run(lambda: tf.constant(1))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, replicas, axis=None)

    count()


def agree(strategy: tf.distribute.Strategy, number: int) -> bool:
    """Whether all workers pass the same number; waits for them."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return True
    # The mean of the squares equals the square of the mean only if all numbers are the same.
    count, first, second = _total(strategy, [1, number, number * number])
    return bool(count * second == first * first)


def anywhere(strategy: tf.distribute.Strategy, flags: Sequence[bool]) -> list[bool]:
    """Returns for each place whether any worker passes True there; waits for them.

    Args:
      strategy: the strategy.
      flags: equally many for every worker.
    """
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return list(flags)
    return [bool(count) for count in _total(strategy, [*map(int, flags)])]


def _total(strategy: tf.distribute.Strategy, numbers: Sequence[int]) -> np.ndarray:
    """Sums each number over all replicas; waits for all workers."""

    @tf.function(autograph=False)
    def total(values):
        replicas = strategy.run(tf.identity, args=(values,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, replicas, axis=None)

    return total(tf.constant(numbers, tf.int64)).numpy()


def _multi_worker() -> tf.distribute.Strategy:
    example = (
        'TF_CONFIG=\'{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": '
        '"worker", "index": 0}}\', with an index of its own on every host'
    )
    try:
        found = json.loads(os.environ.get("TF_CONFIG", ""))
        workers, task = found["cluster"]["worker"], found["task"]
        kind, index = task["type"], int(task["index"])  # TensorFlow accepts "0", too
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            "--strategy=multiworker needs the environment variable TF_CONFIG, the same cluster on "
            f"every host: {example}. Received: {os.environ.get('TF_CONFIG')!r}"
        ) from error
    if kind == "worker" and not 0 <= index < len(workers):
        raise ValueError(f"TF_CONFIG: there is no worker {index} among {len(workers)}.")
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=tf.distribute.experimental.CommunicationImplementation.RING
    )
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


def _tpu(tpu: str | None, zone: str | None, project: str | None) -> tf.distribute.Strategy:
    """Creates a TPU strategy, which needs a real TPU, since there are no fake ones."""
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            tpu=tpu, zone=zone, project=project
        )
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, RuntimeError, tf.errors.OpError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TPUNotFoundError(
            "--strategy=tpu found no TPU. On a TPU machine set the environment variable "
            "TPU_NAME=local, or give --tpu=local; for a TPU elsewhere give --tpu=NAME (or "
            "TPU_NAME=NAME) with --tpu_zone=ZONE and --gcp_project=PROJECT, or "
            f"--tpu=grpc://ADDRESS:8470. ({reason})"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def is_tpu(strategy: tf.distribute.Strategy) -> bool:
    """Whether the replicas are TPU cores."""
    return isinstance(strategy, tf.distribute.TPUStrategy)
