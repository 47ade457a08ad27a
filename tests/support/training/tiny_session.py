"""A run without a network: what `training.run.train` needs, in a few numbers that follow a rule."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import numpy as np
import tensorflow as tf

from training.config import load_config, override
from training.data import Dataset
from training.data.sources import PixelSource
from training.loop.epochs import Evaluators, Schedule
from training.networks.named import find_networks

# Steps of an epoch; and what each epoch scores on the held-out pictures: the second is the best.
STEPS, SCORES = 5, (0.25, 0.75, 0.5)


class Killed(BaseException):
    """The process is gone: no file is written after this."""


class TinySession:
    """Stands in for `training.loop.session.Session`.

    Attributes:
      kept: "killed_after" may name a step.

    Args:
      size: of the weights.
      classes: their names.
      pictures: number of training pictures.
      settings: fields of the configuration, as `--set` has them.
    """

    def __init__(self, size=4, classes=("a", "b"), pictures=6, settings=()):
        self.config = override(
            load_config("digits"),
            (f"epochs={len(SCORES)}", "checkpoint_steps=2", "ema_decay=0.5", *settings),
        )
        images = np.arange(pictures * 12, dtype=np.uint8).reshape(pictures, 2, 2, 3)
        part = PixelSource(images, np.arange(pictures) % len(classes))
        self.data = Dataset(
            "numbers", train=part, test=part, class_names=classes, input_size=(2, 2)
        )
        self.strategy = tf.distribute.get_strategy()
        self.schedule = Schedule(
            epochs=len(SCORES),
            steps_per_epoch=STEPS,
            batch_size=1,
            rate=lambda epoch: 0.5**epoch,
            checkpoint_steps=self.config.checkpoint_steps,
        )
        step = tf.Variable(0, dtype=tf.int64, name="iteration")
        self.optimizer = SimpleNamespace(iterations=step)
        self.weights = keras.Variable(np.zeros(size, np.float32), name="weights")
        self.momentum = keras.Variable(np.zeros(size, np.float32), name="momentum")
        self.average = keras.Variable(np.zeros(size, np.float32), name="average")
        self.epoch_loss = tf.Variable(0.0, dtype=tf.float64, name="epoch_loss")
        self.ships_average = tf.Variable(1.0, name="ships_average")
        self.beginning, self.plan = "zeros", "nothing is planned"
        self.named, self.teacher = find_networks(self.config), None
        self.kept = {}

    @property
    def step(self):
        return int(self.optimizer.iterations)

    @property
    def state(self):
        return {
            "model": [self.weights],
            "optimizer": [self.momentum, self.optimizer.iterations],
            "ema": [self.average],
            "loop": [self.epoch_loss, self.ships_average],
        }

    def warnings(self):
        return []

    def train_step(self):
        def step(images, targets, wish):
            del images, targets
            if self.step == self.kept.get("killed_after"):
                raise Killed
            change = np.sin(np.arange(len(self.weights.numpy())) + self.step, dtype=np.float32)
            self.momentum.assign(0.5 * np.array(self.momentum) + change)
            self.weights.assign(np.array(self.weights) - np.array(self.momentum) / 3)
            self.average.assign(0.5 * np.array(self.average) + 0.5 * np.array(self.weights))
            self.optimizer.iterations.assign_add(1)
            return tf.stack([tf.reduce_sum(self.weights.value**2), wish])

        return step

    def fill_cache(self, stop_wanted):
        return True

    def train_batches(self, first_step):
        images, targets = tf.zeros([1, 2, 2, 3]), tf.zeros([1])
        return iter([(images, targets)] * (self.schedule.steps - first_step))

    def evaluators(self):
        def score():
            return SCORES[self.step // STEPS - 1]

        return Evaluators(score, score)

    def shipped(self):
        average = np.array(self.average)
        layer = keras.layers.EinsumDense("bi,i->bi", [len(average)])
        model = keras.Sequential([keras.Input([len(average)]), layer])
        layer.set_weights([average])
        return model
