"""One training run, from a configuration to checked artefacts in a folder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

import levit_tf
from converters.calibration import spread
from converters.cli import atomic_path
from training.artefacts import check_artefacts, format_table, write_artefacts
from training.config import Config
from training.data import ImageData, load_data, steps_per_epoch, train_dataset
from training.evaluate import model_evaluator
from training.loop import History, fit, make_train_step, synchronize_batch_norm
from training.optim import make_optimizer
from training.pictures import contact_sheet, learning_curve
from training.strategy import make_strategy


def run(config: Config, output: str, *, strategy: str = "default", overwrite: bool = False) -> None:
    """Trains, exports, checks every artefact, and draws the pictures.

    Args:
      config: what to train.
      output: folder of the run; it is created.
      strategy: one of `training.strategy.STRATEGIES`.
      overwrite: whether `output` may hold files already; those of the same names are replaced.

    Raises:
      FileExistsError: `output` is not empty and `overwrite` is false.
      ValueError: an argument is not valid, or the loss is not finite.
    """
    folder = Path(output)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not overwrite):
        raise FileExistsError(
            f"--output: {output} is not an empty folder. Choose another, or replace what is there "
            "with --overwrite."
        )
    data = load_data(config.dataset)
    folder.mkdir(parents=True, exist_ok=True)
    print(config)
    _write_json(folder / "config.json", {**dataclasses.asdict(config), "strategy": strategy})

    model, history = train(config, data, strategy)
    _write_json(folder / "history.json", history)
    learning_curve(history, folder / "curves.png")

    print("\nexporting and checking every artefact on the held-out pictures ...")
    train_images, _ = data.train
    names = write_artefacts(
        model,
        folder,
        class_names=data.class_names,
        calibration_images=train_images[spread(len(train_images))],
        overwrite=overwrite,
    )
    reports, probabilities = check_artefacts(folder, names, *data.test)
    _write_json(folder / "artefacts.json", [dataclasses.asdict(report) for report in reports])
    contact_sheet(*data.test, probabilities, data.class_names, folder / "predictions.png")
    print(f"\n{format_table(reports)}\n\nwritten: {folder}")


def train(
    config: Config, data: ImageData, strategy_name: str = "default"
) -> tuple[keras.Model, History]:
    """Trains a network.

    Args:
      config: what to train.
      data: pictures of the network's input size.
      strategy_name: one of `training.strategy.STRATEGIES`.

    Returns:
      The network with heads="average", outside of any strategy; and the history of
      `training.loop.fit`.
    """
    images, labels = data.train
    steps = steps_per_epoch(len(images), config.batch_size)
    strategy = make_strategy(strategy_name)
    keras.utils.set_random_seed(config.seed)
    with strategy.scope():
        model = _network(config, images, data, heads="both")
        if strategy.num_replicas_in_sync > 1:
            synchronize_batch_norm(model)
        optimizer = make_optimizer(model, config, steps)
    dataset = train_dataset(
        images,
        labels,
        batch_size=config.batch_size,
        steps=config.epochs * steps,
        seed=config.seed,
        crop_padding=config.crop_padding,
    )
    history = fit(
        make_train_step(
            model,
            optimizer,
            strategy,
            batch_size=config.batch_size,
            label_smoothing=config.label_smoothing,
        ),
        dataset,
        strategy,
        epochs=config.epochs,
        steps_per_epoch=steps,
        batch_size=config.batch_size,
        evaluate=model_evaluator(model, *data.test),
        learning_rate=lambda: float(np.asarray(optimizer.learning_rate)),
    )
    final = _network(config, images, data, heads="average")
    levit_tf.transfer_weights(model, final)
    return final, history


def _network(config: Config, images: np.ndarray, data: ImageData, heads: str) -> keras.Model:
    return levit_tf.LeViT(
        config.variant,
        input_shape=images.shape[1:],
        classes=len(data.class_names),
        heads=heads,
    )


def _write_json(path: Path, content: Any) -> None:
    with atomic_path(path, overwrite=True) as temporary:
        Path(temporary).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
