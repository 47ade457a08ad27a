"""The training loop: epochs of compiled steps, evaluations, rows of the log, checkpoints."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator

import tensorflow as tf

from levit_tf.preprocessing import denormalize
from training.log import Log, Row
from training.loop.progress import Progress

# From the name of a log column to its values, one per epoch.
History = dict[str, list[float]]
SHOWN_IMAGES = 16


class NonFiniteLossError(ValueError):
    """The loss of a step is infinite or NaN; the message names the step."""


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The schedule of a run.

    Attributes:
      epochs: number of epochs, including the cool-down.
      steps_per_epoch: optimizer steps per epoch.
      batch_size: pictures per step, over all replicas.
      rate: function from the index of an epoch, counted from 0, to its learning rate.
      eval_epochs: epochs between evaluations.
      checkpoint_epochs: epochs between checkpoints.
      checkpoint_steps: steps between checkpoints within an epoch; 0 for none.
    """

    epochs: int
    steps_per_epoch: int
    batch_size: int
    rate: Callable[[int], float]
    eval_epochs: int = 1
    checkpoint_epochs: int = 1
    checkpoint_steps: int = 0

    @property
    def steps(self) -> int:
        """Total number of steps in the run."""
        return self.epochs * self.steps_per_epoch

    def is_due(self, period: int, epoch: int) -> bool:
        """Whether something with this period in epochs is due after an epoch, or it is the last."""
        return (epoch + 1) % period == 0 or epoch + 1 == self.epochs


@dataclasses.dataclass(frozen=True)
class Evaluators:
    """Functions that return the top-1 on held-out pictures, 0..1.

    Attributes:
      raw: evaluates the weights of the last step.
      ema: evaluates their moving average; None without an average.
    """

    raw: Callable[[], float]
    ema: Callable[[], float] | None = None


def fit(
    train_step: Callable[..., tf.Tensor],
    batches: Iterator,
    schedule: Schedule,
    *,
    first_step: int,
    epoch_loss: tf.Variable,
    evaluators: Evaluators,
    log: Log,
    save: Callable[[bool], None],
    stop_wanted: Callable[[], bool] = lambda: False,
) -> bool:
    """Runs the remaining epochs.

    Args:
      train_step: a result of `training.loop.step.make_train_step`.
      batches: arguments of the step, from `first_step` on; the images come first.
      schedule: the schedule of the run.
      first_step: number of steps already done.
      epoch_loss: sum of the losses over the steps of the present epoch, float64, part of the
        checkpoints.
      evaluators: called when the schedule says so.
      log: gets a row after each epoch.
      save: writes a checkpoint; its argument says whether this is the best epoch so far.
      stop_wanted: whether to stop; the step in progress is finished first.

    Returns:
      Whether all epochs are done. If not, a checkpoint of the last step was saved.

    Raises:
      NonFiniteLossError: a loss is infinite or NaN.
    """
    per_epoch = schedule.steps_per_epoch
    step, stop = first_step, 0.0
    for epoch in range(first_step // per_epoch, schedule.epochs):
        progress = Progress(
            f"epoch {epoch + 1}/{schedule.epochs}",
            per_epoch,
            step % per_epoch,
            schedule.batch_size,
            schedule.steps - step,
        )
        for place in range(step % per_epoch + 1, per_epoch + 1):
            start = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - start
            if step == 0:
                log.images("augmented", _pictures(batch[0]), step)
            wish = tf.constant(float(stop_wanted()))  # a tensor: a number would be compiled in
            loss, stop = train_step(*batch, wish).numpy().tolist()
            step += 1
            if not math.isfinite(loss):
                raise NonFiniteLossError(f"The loss of step {step} (epoch {epoch + 1}) is {loss}.")
            epoch_loss.assign_add(loss)
            progress.step(waited, float(epoch_loss) / place)
            if place < per_epoch and (stop or _divides(schedule.checkpoint_steps, step)):
                save(False)
            if place < per_epoch and stop:
                progress.finish(float(epoch_loss) / place)
                return False
        is_best = _finish_epoch(epoch, step, schedule, progress, epoch_loss, evaluators, log)
        if stop or is_best or schedule.is_due(schedule.checkpoint_epochs, epoch):
            save(is_best)
        if stop and epoch + 1 < schedule.epochs:
            return False
    return True


def _pictures(images) -> tf.Tensor:
    """Returns the first normalised pictures of a distributed batch as uint8 RGB."""
    if isinstance(images, tf.distribute.DistributedValues):
        images = images.values[0]
    rgb = denormalize(images[:SHOWN_IMAGES])
    return tf.cast(tf.clip_by_value(tf.round(rgb), 0, 255), tf.uint8)


def _divides(period: int, step: int) -> bool:
    return period > 0 and step % period == 0


def _finish_epoch(epoch, step, schedule, progress, epoch_loss, evaluators, log) -> bool:
    """Evaluates, logs the epoch, and returns whether it is the best one so far."""
    loss = float(epoch_loss) / schedule.steps_per_epoch
    speed, data_wait = progress.images_per_second, progress.data_wait
    top1 = ema_top1 = None
    if schedule.is_due(schedule.eval_epochs, epoch):
        top1 = evaluators.raw()
        ema_top1 = evaluators.ema() if evaluators.ema else None
    figures = (("top-1", top1), ("of the average", ema_top1))
    found = [f"{name} {100 * value:.2f} %" for name, value in figures if value is not None]
    rate = schedule.rate(epoch)
    progress.finish(loss, f"rate {rate:.2e}", *found)
    earlier = [row.score for row in log.rows if row.score is not None]
    row = Row(
        epoch=epoch + 1,
        step=step,
        learning_rate=rate,
        loss=loss,
        top1=top1,
        ema_top1=ema_top1,
        images_per_second=speed,
        data_wait=data_wait,
    )
    log.add(row)
    epoch_loss.assign(0)
    return row.score is not None and all(row.score > score for score in earlier)
