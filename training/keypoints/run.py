"""One training for joints, from a configuration to checked artefacts in a folder."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import levit_tf
from converters.saved_model.conversion import to_saved_model
from converters.tflite.calibration import CALIBRATION_IMAGES
from converters.tflite.conversion import to_tflite
from levit_common.json_files import write_json
from levit_common.markdown import markdown_table
from levit_common.shipped_names import KEYPOINTS
from levit_tf.keypoints.drawing import draw_sheet
from levit_tf.keypoints.network import DECODER, keypoint_network, logits_of
from levit_tf.prediction.network_files import read_network
from levit_tf.preprocessing import preprocess_input
from levit_tf.variants import get_variant
from training.checkpoints.folder import locked
from training.keypoints.augment import Ranges, moved
from training.keypoints.config import KeypointConfig
from training.keypoints.evaluation import evaluate, inputs_of
from training.keypoints.losses import AxisLoss, HeatmapLoss
from training.keypoints.people import Crops, cut_out
from training.keypoints.progress import (
    LOG_FILE,
    PROGRESS_FILE,
    KeepLog,
    KeepProgress,
    resumed_epoch,
    rows_of,
    save_weights,
)
from training.keypoints.sources import load_joint_set
from training.networks.initial import trained_network

CONFIG_FILE, RESULT_FILE, BEST_FILE = "config.json", "result.json", "best.weights.h5"
ARTEFACTS = ("final.keras", "fused.keras", "saved_model", "fp32.tflite", "int8.tflite")
_SHOWN = 12


def run(config: KeypointConfig, output: str | os.PathLike, *, overwrite: bool = False) -> None:
    """Trains, exports, and measures every artefact on the test part.

    A folder with an earlier run of the same configuration goes on after its last whole epoch.

    Args:
      config: what to train.
      output: folder of the run; it is created.
      overwrite: whether to begin anew where there is a run already.

    Raises:
      FileExistsError: `output` has a run of another configuration, or one in progress.
      FileNotFoundError, ValueError: the data set or the initial weights do not fit.
    """
    folder = Path(output)
    # Before anything is written: it may not fit, or not be there.
    trained = None if config.init_from is None else trained_network(config)
    with locked(folder):
        _prepare(config, folder, overwrite)
        keras.utils.set_random_seed(config.seed)
        data = load_joint_set(config.dataset)
        size = config.input_size or (get_variant(config.variant).input_size,) * 2
        parts, skipped = {}, list(data.skipped)
        for name in ("train", "validation", "test"):
            parts[name], left_out = cut_out(getattr(data, name), size)
            skipped += left_out
            print(f"{name}: {len(parts[name].pixels)} people", flush=True)
        if skipped:
            print(f"skipped: {len(skipped)}, the first: {skipped[0]}")
        model = _network(config, data.skeleton, size, trained)
        print(config, flush=True)
        _train(config, model, parts, data.skeleton, size, folder)
        _export(model, parts, data.skeleton, size, folder)


def _prepare(config: KeypointConfig, folder: Path, overwrite: bool) -> None:
    wanted = json.loads(json.dumps(dataclasses.asdict(config)))
    path = folder / CONFIG_FILE
    is_other = path.exists() and json.loads(path.read_text(encoding="utf-8")) != wanted
    if is_other and not overwrite:
        raise FileExistsError(
            f"{folder}: has a run of another configuration. --overwrite begins anew, or name "
            "another folder."
        )
    if overwrite:
        for old in (PROGRESS_FILE, LOG_FILE, BEST_FILE):
            (folder / old).unlink(missing_ok=True)
    write_json(path, wanted)


def _network(config: KeypointConfig, skeleton, size, trained) -> keras.Model:
    backbone = levit_tf.LeViT(
        config.variant, include_top=False, input_shape=(*size, 3), drop_path_rate=0.0
    )
    if trained is not None:
        levit_tf.transfer_weights(trained, backbone)
    return keypoint_network(backbone, skeleton, config.head, config.sigma or None)


def _train(config, model, parts, skeleton, size, folder: Path) -> None:
    learner = logits_of(model)
    decoder = model.get_layer(DECODER)
    if config.head == "simcc":
        losses = {
            axis: AxisLoss(n, size[1 - n], decoder.sigma) for n, axis in enumerate(("x", "y"))
        }
    else:
        losses = {"heatmap": HeatmapLoss(size, decoder.grid, decoder.sigma)}
    steps = max(1, len(parts["train"].pixels) // config.batch_size)
    optimizer = keras.optimizers.AdamW(
        _Rate(config.learning_rate, steps, config.epochs * steps),
        weight_decay=config.weight_decay,
        global_clipnorm=5.0,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "attention_biases"])
    learner.compile(optimizer, losses)
    begin = resumed_epoch(learner, folder, steps)
    looks = _Looks(model, parts["validation"], size, skeleton, folder)
    if begin < config.epochs:
        learner.fit(
            _batches(config, parts["train"], skeleton, size, list(losses), begin * steps),
            initial_epoch=begin,
            epochs=config.epochs,
            steps_per_epoch=steps,
            verbose=2,
            shuffle=False,  # the batches are
            callbacks=[
                looks,
                KeepLog(folder),
                keras.callbacks.TerminateOnNaN(),
                KeepProgress(folder),  # the last, so that what it stands for is all there
            ],
        )
    if not (folder / BEST_FILE).exists():
        raise ValueError("The loss became infinite or not a number: try a lower learning_rate.")
    model.load_weights(folder / BEST_FILE)


def _batches(config, crops: Crops, skeleton, size, outputs, first: int) -> tf.data.Dataset:
    """Augmented people from step `first` on, in a new order every epoch.

    Order and draws are functions of the seed and the number of the step, so that a run that was
    stopped goes on as if nothing had happened.
    """
    ranges = Ranges(
        rotation=config.rotation,
        scale=(1 - config.scale_change, 1 + config.scale_change),
        shift=config.shift,
        flip=config.flip,
    )
    count = len(crops.pixels)
    pixels, joints = crops.pixels, tf.constant(crops.joints)

    def take(indices):
        return pixels[indices]

    size_of_batch = min(config.batch_size, count)
    steps = count // size_of_batch

    def batch(step):
        epoch, place = step // steps, step % steps * size_of_batch
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count, dtype=tf.int64),
            seed=tf.stack([tf.constant(config.seed, tf.int64), epoch]),
        )
        indices = order[place : place + size_of_batch]
        seed = tf.cast(tf.stack([tf.constant(config.seed, tf.int64), step]), tf.int32)
        chosen = tf.numpy_function(take, [indices], tf.uint8, stateful=False)
        chosen = tf.ensure_shape(chosen, [None, *pixels.shape[1:]])
        images, found = moved(chosen, tf.gather(joints, indices), size, skeleton, ranges, seed)
        return images, dict.fromkeys(outputs, found)

    numbers = tf.data.Dataset.range(first, config.epochs * steps)
    return numbers.map(batch, num_parallel_calls=2).prefetch(2)


@keras.saving.register_keras_serializable(package="levit_tf.training")
class _Rate(keras.optimizers.schedules.LearningRateSchedule):
    """Linear growth over the first epoch, then a cosine to a hundredth."""

    def __init__(self, highest: float, warmup: int, steps: int):
        self.highest, self.warmup, self.steps = highest, warmup, steps

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        share = tf.clip_by_value((step - self.warmup) / max(1, self.steps - self.warmup), 0, 1)
        cosine = 0.01 + 0.99 * 0.5 * (1 + tf.cos(math.pi * share))
        return self.highest * tf.minimum((step + 1) / self.warmup, cosine)

    def get_config(self):
        return {"highest": self.highest, "warmup": self.warmup, "steps": self.steps}


class _Looks(keras.callbacks.Callback):
    """Measures on the validation part after each epoch, and keeps the best weights."""

    def __init__(self, network, crops, size, skeleton, folder):
        super().__init__()
        self._network, self._crops, self._size = network, crops, size
        self._run = _runner(network)
        self._skeleton, self._folder = skeleton, folder
        self._best = _best_so_far(folder)

    def on_epoch_end(self, epoch, logs=None):
        found = evaluate(self._run, self._crops, self._size, self._skeleton)
        logs["val_mpjpe"] = found.mpjpe
        if found.pck is not None:
            logs["val_pck"] = found.pck
        score = -found.mpjpe if found.pck is None else found.pck
        if score > self._best:
            self._best = score
            save_weights(self._network, self._folder / BEST_FILE)


def _best_so_far(folder: Path) -> float:
    """The best score of a run that goes on."""
    if not (folder / BEST_FILE).exists():
        return -math.inf
    rows = rows_of(folder)
    scores = [float(r["val_pck"]) if r.get("val_pck") else -float(r["val_mpjpe"]) for r in rows]
    return max(scores, default=-math.inf)


def _runner(model: keras.Model):
    predict = tf.function(lambda x: model(x, training=False)[KEYPOINTS])
    return lambda pixels: predict(preprocess_input(pixels)).numpy()


def _export(model: keras.Model, parts, skeleton, size, folder: Path) -> None:
    """Writes the network in every format, and measures each on the test part."""
    joints = list(skeleton.joints)
    model.save(folder / "final.keras")
    levit_tf.fuse(model).save(folder / "fused.keras")
    images = inputs_of(parts["train"], size)
    images = images[:: max(1, len(images) // CALIBRATION_IMAGES)][:CALIBRATION_IMAGES]
    options = {"class_names": joints, "overwrite": True}
    to_saved_model(model, folder / "saved_model", images=images, **options)
    for recipe in ("fp32", "int8"):
        to_tflite(
            model, folder / f"{recipe}.tflite", recipe=recipe, calibration_images=images, **options
        )
    rows, found = [], {}
    for name in ARTEFACTS:
        network = read_network(folder / name)
        batch = network.input_shape[0] or 32
        quality = evaluate(
            lambda x, network=network: network.outputs(x)[KEYPOINTS],
            parts["test"],
            size,
            skeleton,
            batch,
        )
        found[name] = dataclasses.asdict(quality)
        shares = [quality.pck, quality.pckh]
        rows.append(
            [
                name,
                *("-" if s is None else f"{100 * s:.2f}" for s in shares),
                f"{quality.mpjpe:.2f}",
            ]
        )
    write_json(folder / RESULT_FILE, found)
    header = ["artefact", "PCK@0.2, %", "PCKh@0.5, %", "MPJPE, px"]
    print(markdown_table([header, *rows], right=(1, 2, 3)))
    few = np.linspace(0, len(parts["test"].pixels) - 1, _SHOWN).astype(int)
    shown = inputs_of(parts["test"], size)[few]
    draw_sheet(shown, _runner(model)(shown), skeleton, folder / "predictions.png")
    print(f"written: {folder}")
