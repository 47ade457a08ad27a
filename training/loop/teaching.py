"""The teacher of a run: one that each step calls, or a cache of its answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tensorflow as tf

from levit_tf.weights.hub.checkpoints import HubCheckpoint
from training.augment import AugmentationSettings, MixingSettings
from training.config import Config
from training.data import Dataset
from training.strategy import anywhere, worker_of, workers_of
from training.teachers.cache import TeacherCache, TopLogits, digest_of
from training.teachers.labels import digest_of_teacher
from training.teachers.teacher import Teacher, load_teacher, teacher_file

TeacherSource = str | HubCheckpoint  # a result of `find_teacher`


def load_configured_teacher(config: Config, source: TeacherSource, data: Dataset) -> Teacher:
    """Loads the teacher of a configuration; call it in the scope of the strategy.

    Args:
      config: the configuration.
      source: the result of `find_teacher` for `config.teacher`.
      data: the pictures of the run.

    Raises:
      FileNotFoundError, ImportError, ValueError: see `load_teacher`.
    """
    return load_teacher(
        source,
        data.input_size,
        None if config.teacher_head else len(data.class_names),
        trust=config.trust_teacher,
        class_names=list(zip(data.class_ids, data.class_names, strict=True)),
        class_file=config.teacher_classes,
        preprocessing=config.teacher_preprocessing,
    )


def taught_classes(
    config: Config,
    source: TeacherSource | None,
    data: Dataset,
    strategy: tf.distribute.Strategy,
) -> int:
    """Returns the number of classes that the student learns from its teacher.

    With `teacher_head` they are the teacher's own, which only the loaded teacher knows.

    Raises:
      FileNotFoundError, ImportError, ValueError: see `load_teacher`.
    """
    if not config.teacher_head:
        return len(data.class_names)
    with strategy.scope():
        return load_configured_teacher(config, source, data).classes


def with_top(config: Config, teacher: Teacher) -> Teacher:
    """Returns a teacher that keeps only the highest logits, as the configuration says."""
    kept = TopLogits(teacher.classes, config.teacher_top)
    if kept.top is None:
        return teacher
    return Teacher(
        teacher.source,
        teacher.classes,
        teacher.network,
        lambda images: kept(teacher(images)),
        teacher.notes,
        teacher.in_python,
    )


def make_cache(
    config: Config,
    source: TeacherSource,
    data: Dataset,
    strategy: tf.distribute.Strategy,
    augmentation: AugmentationSettings,
    mixing: MixingSettings,
    classes: int,
) -> TeacherCache:
    """Opens the teacher cache of a configuration, for the pictures of its steps.

    If answers are missing, the teacher is loaded and released again, so that one that does not fit
    is refused before anything is written.

    Args:
      config: the configuration.
      source: the result of `find_teacher` for `config.teacher`.
      data: the pictures of the run.
      strategy: the distribution strategy.
      augmentation: the settings of the run's augmentation.
      mixing: those of its mixing.
      classes: the result of `taught_classes`.

    Raises:
      TeacherCacheError: it contains answers about other pictures.
      FileNotFoundError, ImportError, ValueError: see `load_teacher`.
    """
    if isinstance(source, HubCheckpoint):
        teacher, name = str(source.address), None  # with the commit
        shown = teacher
    else:
        path, name = teacher_file(source)
        teacher, shown = digest_of_teacher(path, config.teacher_classes), Path(path).name
    mixed = dataclasses.asdict(mixing)
    mixed.pop("label_smoothing")  # affects the targets, not the images
    made_with = {
        "teacher": teacher,
        "teacher_name": name,
        "teacher_preprocessing": config.teacher_preprocessing,
        "teacher_classes": config.teacher_classes and digest_of(config.teacher_classes),
        "teacher_top": config.teacher_top,
        "pictures": data.parts["training"].fingerprint,
        "class_names": list(data.class_names),
        "input_size": list(data.input_size),
        "seed": config.seed,
        "batch_size": config.batch_size,
        "accumulate": config.accumulate,
        "fill_batches": config.fill_batches,
        "repeats": config.repeats,
        "augmentation": dataclasses.asdict(augmentation),
        "mixing": mixed,
        "workers": workers_of(strategy),
    }
    if config.teacher_head:
        made_with["teacher_head"] = True
    cache = TeacherCache(
        config.teacher_cache,
        made_with,
        TopLogits(classes, config.teacher_top),
        steps=data.steps_per_epoch(config.batch_size, config.fill_batches),
        epochs=min(config.distinct_epochs or config.total_epochs, config.total_epochs),
        teacher_file=shown,
    )
    worker, workers = worker_of(strategy), workers_of(strategy)
    stored = [cache.path(epoch, worker, workers).exists() for epoch in range(cache.epochs)]
    # All workers create the teacher's variables, or none does.
    if anywhere(strategy, [not all(stored)])[0]:
        with strategy.scope():
            load_configured_teacher(config, source, data)
    cache.prepare()
    return cache
