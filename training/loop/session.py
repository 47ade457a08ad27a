"""All parts of a training run, built in the scope of its strategy."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import tensorflow as tf

import levit_tf
from converters.qat.qat_model import QuantizedModel
from levit_tf.weights.pytorch_names import HEAD_PREFIXES
from training.config import Config
from training.data import Dataset
from training.loop.batches import test_batches, train_batches
from training.loop.epochs import Evaluators, Schedule
from training.loop.recipe import augmentation, make_loss, make_rates, mixing
from training.loop.step import StepOptions, make_train_step
from training.loop.teaching import (
    load_configured_teacher,
    make_cache,
    taught_classes,
    with_top,
)
from training.loop.validation import make_validator
from training.networks import exits, network
from training.networks.named import NamedNetworks, find_networks
from training.optim.ema import Ema
from training.optim.mixed_precision import LossScale, precision
from training.optim.optimizer import AdamW
from training.optim.variables import Variable, raw, unique_name
from training.outcome import (
    warn_of_few_pictures,
    warn_of_seen_pictures,
    warn_of_small_rates,
)
from training.plan import Plan, make_plan
from training.strategy import is_tpu, worker_of, workers_of
from training.teachers.asking import fill
from training.teachers.cache import TeacherCache
from training.teachers.teacher import Teacher


@dataclasses.dataclass(frozen=True)
class Session:
    """The parts of a run.

    Attributes:
      config: the configuration, with every field set.
      data: the pictures.
      named: the networks that the configuration names.
      strategy: the distribution strategy.
      schedule: the schedule of the run.
      plan: how the AUTO fields were chosen.
      networks: the network in training, and what is made of it.
      optimizer: its optimizer.
      ema: its moving average; None if there is none.
      teacher: the teacher that each step calls; None if there is none.
      cache: the stored answers of a teacher that is not called in each step; None if there is none.
      epoch_loss: sum of the losses over the steps of the present epoch.
      ships_average: whether to ship the moving average, 1 or 0: whether it was the better of the
        two in the last evaluation.
    """

    config: Config
    data: Dataset
    named: NamedNetworks
    strategy: tf.distribute.Strategy
    schedule: Schedule
    plan: Plan
    networks: network.Networks
    optimizer: AdamW
    ema: Ema | None
    teacher: Teacher | None
    cache: TeacherCache | None
    epoch_loss: tf.Variable
    ships_average: tf.Variable

    @property
    def model(self) -> network.Network:
        """The network in training."""
        return self.networks.student

    @property
    def beginning(self) -> str:
        """A text that describes the initial weights."""
        return self.networks.beginning

    @property
    def step(self) -> int:
        """Number of steps done."""
        return int(self.optimizer.iterations.numpy())

    @property
    def state(self) -> dict[str, list]:
        """All variables that the next step depends on, by group."""
        scale = self.optimizer.loss_scale
        return {
            "model": [v for v in self.model.variables if not _is_seed(v)],
            "optimizer": self.optimizer.variables,
            "ema": [v for v in self.ema.model.variables if not _is_seed(v)] if self.ema else [],
            "loss_scale": scale.variables if scale else [],
            "loop": [self.epoch_loss, self.ships_average],
        }

    def train_step(self) -> Callable[..., tf.Tensor]:
        """See `training.loop.step.make_train_step`."""
        config = self.config
        return make_train_step(
            self.model,
            self.optimizer,
            self.strategy,
            StepOptions(
                config.batch_size,
                config.accumulate,
                config.freeze_batch_norm,
                config.jit_compile and not is_tpu(self.strategy),  # that compiles anyway
                config.seed,
            ),
            loss=make_loss(config),
            teacher=self.teacher,
            ema=self.ema,
        )

    def fill_cache(self, stop_wanted: Callable[[], bool]) -> bool:
        """Asks the teacher for answers missing in the cache; returns whether it is complete now."""

        def batches(first_step, end):
            return self._batches(first_step, end, has_answers=False)

        return self.cache is None or fill(
            self.cache,
            lambda: load_configured_teacher(self.config, self.named.teacher, self.data),
            batches,
            self.strategy,
            steps=self.schedule.steps_per_epoch,
            accumulate=self.config.accumulate,
            worker=worker_of(self.strategy),
            workers=workers_of(self.strategy),
            stop_wanted=stop_wanted,
        )

    def train_batches(self, first_step: int) -> Iterator:
        """See `training.loop.batches.train_batches`."""
        return self._batches(first_step, self.schedule.steps, has_answers=self.cache is not None)

    def seen_batches(self) -> Iterator:
        """What the network sees: `train_batches(0)` without a teacher's answers."""
        return self._batches(0, self.schedule.steps, has_answers=False)

    def _batches(self, first_step: int, end: int, has_answers: bool) -> Iterator:
        config = self.config
        repeating = config.distinct_epochs
        period = repeating and repeating * self.schedule.steps_per_epoch

        def shard(num_shards, number):
            return self.data.train_dataset(
                global_batch=config.batch_size,
                steps=end,
                first_step=first_step,
                seed=config.seed,
                augment=augmentation(config),
                repeats=config.repeats,
                fill=config.fill_batches,
                period=period,
                num_shards=num_shards,
                shard=number,
            )

        def answers(num_shards, number):
            rows = config.batch_size // num_shards
            return self.cache.dataset(first_step, end, number, num_shards, rows)

        return train_batches(
            shard,
            self.strategy,
            mixing=mixing(config),
            classes=len(self.data.class_names),
            seed=config.seed,
            first_step=first_step,
            period=period,
            answers=answers if has_answers else None,
        )

    def evaluators(self) -> Evaluators:
        """See `training.loop.validation.make_validator`."""
        batch_size = self.config.batch_size

        def batches():
            return test_batches(
                lambda num_shards, shard: self.data.test_dataset(
                    batch=batch_size // num_shards, num_shards=num_shards, shard=shard
                ),
                self.strategy,
                batch_size=batch_size,
                images=self.data.num_test,
            )

        def of(model):
            return make_validator(network.without_teacher_head(model), self.strategy, batches)

        return Evaluators(of(self.model), of(self.ema.model) if self.ema else None)

    def shipped(self) -> keras.Model | QuantizedModel:
        """Returns the present network in its form for use, outside of any strategy.

        It is made of the raw or the averaged weights, whichever are better, and has the class
        names, the input range and its origin. For float networks, each call returns the same Keras
        model with updated weights.
        """
        is_average = self.ema is not None and bool(self.ships_average.numpy())
        trained = self.ema.model if is_average else self.model
        if self.config.qat:
            quantized = self.networks.shipped(trained)
            return dataclasses.replace(quantized, model=self._with_properties(quantized.model))
        in_use = self._in_use  # first, since creating it calls networks.shipped as well
        return network.copy_weights(self.networks.shipped(trained), in_use)

    @functools.cached_property
    def _in_use(self) -> keras.Model:
        """The shipped model of a float run, created once; `shipped` updates its weights."""
        return self._with_properties(self.networks.shipped(self.model))

    def _with_properties(self, model: keras.Model) -> keras.Model:
        kind, separator, path = self.config.dataset.partition(":")
        data = f"{kind}:{Path(path).name}" if separator else kind  # only the folder's own name
        return levit_tf.with_properties(
            model,
            class_names=self.data.class_names,
            input_range="normalized",  # the range of every run's pictures
            origin=f"levit_tf {levit_tf.__version__}, {self.config.variant} trained on {data}",
        )

    def warnings(self) -> list[str]:
        """Returns warnings to show before training."""
        rates = make_rates(self.config, self.schedule.steps_per_epoch)
        found = (
            warn_of_small_rates(
                self.config, rates.total(), self.schedule.steps, self.networks.is_head_fresh
            ),
            warn_of_few_pictures(self.config, self.data.num_train, len(self.data.class_names)),
            warn_of_seen_pictures(self.data.num_seen, self.data.num_test),
        )
        return [warning for warning in found if warning]


def make_session(
    config: Config,
    data: Dataset,
    strategy: tf.distribute.Strategy,
    named: NamedNetworks | None = None,
) -> Session:
    """Builds the parts of a run, after `training.plan` has filled the AUTO fields.

    Args:
      config: the configuration.
      data: the pictures, with the network's input size.
      strategy: the distribution strategy.
      named: the networks that the configuration names, if they have been looked up already.

    Raises:
      FileNotFoundError, ImportError, PermissionError, ConnectionError: a file or a repository that
        the configuration names cannot be opened.
      ValueError: the batch cannot be shared evenly, XLA cannot compile for this strategy, or the
        data, the teacher or the initial weights do not fit.
    """
    replicas = strategy.num_replicas_in_sync
    named = named or find_networks(config)
    source = named.source
    plan = make_plan(config, network.facts(config, source, data, replicas))
    config = plan.config
    if config.batch_size % (replicas * config.accumulate):
        raise ValueError(
            f"batch_size must be a multiple of replicas * accumulate, {replicas} * "
            f"{config.accumulate}. Received: {config.batch_size}"
        )
    if config.jit_compile and replicas > 1 and not is_tpu(strategy):
        raise ValueError(
            f"jit_compile is for one replica, or a TPU; here are {replicas}: on CPUs and GPUs XLA "
            "cannot compile the sums over replicas that BatchNorm needs. Set jit_compile=false."
        )
    steps_per_epoch = data.steps_per_epoch(config.batch_size, config.fill_batches)
    rates = make_rates(config, steps_per_epoch)
    classes = config.teacher and taught_classes(config, named.teacher, data, strategy)
    keras.utils.set_random_seed(config.seed)
    if config.qat:
        from training.networks import qat  # needs packages that no other run needs

        make_networks = qat.prepare(config, source, data)
    elif config.exits:
        make_networks = exits.prepare(config, source, data, replicas)
    else:
        make_networks = functools.partial(
            network.make_networks, config, source, data.class_names, replicas, classes
        )
    with strategy.scope(), precision(config.precision):
        networks = make_networks()
        variables = networks.student.trainable_variables
        optimizer = AdamW(
            variables,
            rates,
            weight_decay=config.weight_decay,
            clip_factor=config.clip_factor,
            rate_factors=[config.head_rate if _is_of_head(v) else 1.0 for v in variables],
            loss_scale=LossScale() if config.precision == "float16" else None,
        )
        ema = networks.average and Ema(
            networks.student, networks.average, config.ema_decay, config.ema_warmup
        )
    teacher, cache = networks.teacher, None
    if config.teacher_cache:
        cache = make_cache(
            config, named.teacher, data, strategy, augmentation(config), mixing(config), classes
        )
    elif config.teacher:
        with strategy.scope():
            teacher = with_top(config, load_configured_teacher(config, named.teacher, data))
        if teacher.in_python and (config.jit_compile or is_tpu(strategy)):
            raise ValueError(
                f"teacher {teacher.source}: runs outside of TensorFlow, where XLA cannot compile "
                "it. Set teacher_cache=DIR, which asks it beforehand, or jit_compile=false."
            )
    return Session(
        config=config,
        data=data,
        named=named,
        strategy=strategy,
        schedule=Schedule(
            epochs=config.total_epochs,
            steps_per_epoch=steps_per_epoch,
            batch_size=config.batch_size,
            rate=rates.rate,
            eval_epochs=config.eval_epochs,
            checkpoint_epochs=config.checkpoint_epochs,
            checkpoint_steps=config.checkpoint_steps,
        ),
        plan=plan,
        networks=networks,
        optimizer=optimizer,
        ema=ema,
        teacher=teacher,
        cache=cache,
        epoch_loss=tf.Variable(0.0, dtype=tf.float64, trainable=False, name="epoch_loss"),
        ships_average=tf.Variable(float(ema is not None), trainable=False, name="ships_average"),
    )


def _is_of_head(variable: Variable) -> bool:
    return unique_name(variable).startswith(HEAD_PREFIXES)


def _is_seed(variable: Variable) -> bool:
    """Whether it is a random generator's state, which `training.loop.draws` sets each step."""
    return not raw(variable).dtype.is_floating
