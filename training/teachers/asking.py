"""Asks a teacher about every picture of the epochs missing in a cache, and stores the answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from training.strategy import anywhere
from training.teachers.cache import TeacherCache
from training.teachers.teacher import Teacher

_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_BETWEEN_LINES = 30.0


def fill(
    cache: TeacherCache,
    load: Callable[[], Teacher],
    batches: Callable[[int, int], Iterator],
    strategy: tf.distribute.Strategy,
    *,
    steps: int,
    accumulate: int = 1,
    worker: int = 0,
    workers: int = 1,
    stop_wanted: Callable[[], bool] = lambda: False,
) -> bool:
    """Fills the missing epochs. Several runs may do so; each takes the next free epoch.

    The workers of one run go together through the epochs that any of them lacks.

    Args:
      cache: the cache, prepared.
      load: loads the teacher, in the scope of `strategy`; it is called only if the teacher is
        needed.
      batches: function of (first step, step to stop before) that returns distributed (images,
        targets).
      strategy: the distribution strategy.
      steps: number of steps per epoch.
      accumulate: number of parts in which a replica's images go through the teacher.
      worker: index of this worker, which determines its rows of each batch.
      workers: number of workers.
      stop_wanted: whether to stop; the epoch in progress is not stored then.

    Returns:
      Whether all epochs are stored.
    """
    missing = dict(cache.missing(worker, workers))
    wanted = anywhere(strategy, [epoch in missing for epoch in range(cache.epochs)])
    left = [epoch for epoch, is_wanted in enumerate(wanted) if is_wanted]
    if not left:
        print(f"teacher: all {cache.epochs} epochs of answers are in {cache.folder}", flush=True)
        return True
    for reason in missing.values():
        if reason:
            print(f"teacher: {reason}. It is asked again.", flush=True)
    with strategy.scope():
        teacher = load()
    print(teacher, flush=True)
    ask = _make_ask(teacher, strategy, cache.kept.parts, accumulate)
    if workers > 1:  # TensorFlow lets them fetch batches and load networks only together
        for epoch in left:
            arrays = _ask_epoch(cache, ask, batches, strategy, epoch, steps, stop_wanted)
            if arrays is None:
                return False
            if epoch in missing:
                cache.write(epoch, arrays, worker, workers)
        return True
    damaged = {epoch for epoch, reason in missing.items() if reason}
    while left:
        taken = 0
        for epoch in list(left):
            if stop_wanted():
                return False
            with cache.claimed(epoch, worker, workers) as is_mine:
                if not is_mine:
                    continue
                taken += 1
                # Another process may have stored it in the meantime.
                if epoch in damaged or not cache.path(epoch, worker, workers).exists():
                    arrays = _ask_epoch(cache, ask, batches, strategy, epoch, steps, stop_wanted)
                    if arrays is None:
                        return False
                    cache.write(epoch, arrays, worker, workers)
                left.remove(epoch)
        if left and not taken:
            if stop_wanted():
                return False
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    return True


def _make_ask(teacher, strategy, parts_of, accumulate: int):
    def of_replica(images):
        # Split as in a training step, so that the answers are the same to the last bit.
        found = [parts_of(teacher(part)) for part in tf.split(images, accumulate)]
        return {name: tf.concat([one[name] for one in found], 0) for name in found[0]}

    @tf.function(autograph=False)
    def ask(images, wish):
        # Summed, so that all workers stop after the same step.
        wishes = strategy.reduce("sum", strategy.run(tf.identity, args=(wish,)), axis=None)
        return strategy.run(of_replica, args=(images,)), wishes

    return ask


def _ask_epoch(
    cache: TeacherCache,
    ask: Callable,
    batches: Callable[[int, int], Iterator],
    strategy: tf.distribute.Strategy,
    epoch: int,
    steps: int,
    stop_wanted: Callable[[], bool],
) -> dict[str, np.ndarray] | None:
    rows: dict[str, list[np.ndarray]] = {name: [] for name in cache.kept.shapes()}
    start = shown = time.monotonic()
    for number, (images, _) in enumerate(batches(epoch * steps, (epoch + 1) * steps), 1):
        answers, wishes = ask(images, tf.constant(float(stop_wanted())))
        if wishes.numpy():
            return None
        for name, values in answers.items():
            local = strategy.experimental_local_results(values)
            rows[name].append(np.concatenate([part.numpy() for part in local]))
        now = time.monotonic()
        if number == steps or now - shown > _SECONDS_BETWEEN_LINES:
            shown = now
            pictures = sum(map(len, rows["logits"]))
            print(
                f"teacher: epoch {epoch + 1}/{cache.epochs} {number}/{steps}, "
                f"{pictures / (now - start):.0f} images/s",
                flush=True,
            )
    return {name: np.stack(arrays) for name, arrays in rows.items()}
