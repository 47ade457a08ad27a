"""One training for joints, from a configuration to checked artefacts in a folder."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import levit_tf
from converters.qat.qat_model import QuantizedModel
from converters.tflite.calibration import CALIBRATION_IMAGES
from levit_common.arrays import spread_indices
from levit_common.json_files import write_json
from levit_common.markdown import markdown_table
from levit_common.shipped_names import KEYPOINTS
from levit_tf.keypoints.drawing import draw_sheet
from levit_tf.keypoints.measures import NotFiniteError
from levit_tf.keypoints.network import DECODER, keypoint_network, logits_of
from levit_tf.keypoints.skeletons import Skeleton
from levit_tf.prediction.network_files import read_network
from levit_tf.preprocessing import preprocess_input
from levit_tf.variants import get_variant
from training.artefacts import write_artefacts
from training.checkpoints.folder import locked
from training.checkpoints.record import RUN_FILE
from training.failures import memory_explained
from training.keypoints.batches import CLIP_NORM, Rate, batches, losses_of, steps_of
from training.keypoints.config import KeypointConfig
from training.keypoints.evaluation import evaluate, inputs_of
from training.keypoints.people import Crops, cut_out
from training.keypoints.progress import (
    BEST_FILE,
    LOG_FILE,
    PROGRESS_FILE,
    QAT_BEST_FILE,
    QAT_PROGRESS_FILE,
    append_row,
    best_score,
    check_same_people,
    keep_best,
    resumed_epoch,
    save_weights,
    score_of,
)
from training.keypoints.sources import load_joint_set
from training.networks.initial import find_source, trained_network

CONFIG_FILE, RESULT_FILE = "config.json", "result.json"
# Files that a run resumes from. A new run must not find any of them.
STATE = (
    *(CONFIG_FILE, RUN_FILE, LOG_FILE),
    *(PROGRESS_FILE, BEST_FILE, QAT_PROGRESS_FILE, QAT_BEST_FILE),
)
_SHOWN = 12


def run(config: KeypointConfig, output: str | os.PathLike, *, overwrite: bool = False) -> None:
    """Trains, exports, and measures every artefact on the test part.

    A folder with an earlier run of the same configuration goes on after its last whole epoch.

    Args:
      config: what to train.
      output: folder of the run; it is created.
      overwrite: whether to begin anew where there is a run already.

    Raises:
      FileExistsError: `output` has a run of another configuration or with other data, or one in
        progress.
      FileNotFoundError, ValueError: the data set or the initial weights do not fit.
      OSError: there is not enough memory.
    """
    folder = Path(output)
    # Before anything is written: it may not fit, or not be there.
    trained = None
    if config.init_from is not None:
        trained = trained_network(find_source(config), takes_deploy_form=config.qat is not None)
    size = config.input_size or (get_variant(config.variant).input_size,) * 2
    with locked(folder):
        if not overwrite:
            _check_same_configuration(config, folder)
        data = load_joint_set(config.dataset)
        if config.flip:
            _print_sides(config, data.skeleton)
        keras.utils.set_random_seed(config.seed)
        # Before pictures are read, which takes long: it may not be for this variant or size.
        model = _network(config, data.skeleton, size, trained)
        parts, skipped = {}, list(data.skipped)
        for name in ("train", "validation", "test"):
            parts[name], left_out = cut_out(getattr(data, name), size)
            skipped += left_out
            print(f"{name}: {len(parts[name].pixels)} people", flush=True)
        if skipped:
            print(f"skipped: {len(skipped)}, the first: {skipped[0]}")
        if overwrite:
            for name in STATE:
                (folder / name).unlink(missing_ok=True)
        check_same_people(folder, data, parts, steps_of(config, parts["train"]))
        # Only now: where something refused the run, the corrected command has another one.
        write_json(folder / CONFIG_FILE, _as_written(config))
        images = _calibration_images(parts["train"], size)
        print(config, flush=True)
        with memory_explained(config.batch_size):
            if config.qat is None:
                _train(config, model, parts, data.skeleton, size, folder)
            else:
                from training.keypoints.quantized import train_for_int8  # needs what others do not

                model = train_for_int8(config, model, parts, data.skeleton, images, folder)
        _export(model, parts, data.skeleton, size, images, folder)


def _print_sides(config: KeypointConfig, skeleton: Skeleton) -> None:
    if skeleton.one_sided:
        raise ValueError(
            f"flip={config.flip:g}: {', '.join(skeleton.one_sided)}: of a left or right side, "
            "without a joint of the same name on the other side. A mirrored picture would teach "
            "one for the other. Name them left_... and right_..., or --set=flip=0."
        )
    pairs = ", ".join(" and ".join(pair) for pair in skeleton.sides)
    print(f"exchanged in mirrored pictures: {pairs or 'no joints'}", flush=True)


def _check_same_configuration(config: KeypointConfig, folder: Path) -> None:
    path = folder / CONFIG_FILE
    if not path.exists():
        return
    # A run of an earlier version has not every field.
    fields = {**dataclasses.asdict(KeypointConfig()), **json.loads(path.read_text("utf-8"))}
    if json.loads(json.dumps(fields)) != _as_written(config):
        raise FileExistsError(
            f"{folder}: has a run of another configuration. --overwrite begins anew, or name "
            "another folder."
        )


def _as_written(config: KeypointConfig) -> dict[str, Any]:
    """A configuration as it is read back from JSON, which has no tuples."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def _network(config: KeypointConfig, skeleton, size, trained) -> keras.Model:
    if config.qat is not None:
        from training.keypoints.quantized import float_network  # needs what other runs do not

        return float_network(config, trained, skeleton, size)
    backbone = levit_tf.LeViT(
        config.variant, include_top=False, input_shape=(*size, 3), drop_path_rate=0.0
    )
    if trained is not None:
        levit_tf.transfer_weights(trained, backbone)
    return keypoint_network(backbone, skeleton, config.head, config.sigma or None)


def _train(config, model, parts, skeleton, size, folder: Path) -> None:
    learner = logits_of(model)
    losses, steps = losses_of(model.get_layer(DECODER)), steps_of(config, parts["train"])
    optimizer = keras.optimizers.AdamW(
        Rate(config.learning_rate, steps, config.epochs * steps),
        weight_decay=config.weight_decay,
        global_clipnorm=CLIP_NORM,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "attention_biases"])
    learner.compile(optimizer, losses)
    begin = resumed_epoch(learner, folder, steps)
    looks = _Looks(model, parts["validation"], size, skeleton, folder)

    def keep(epoch, logs):
        append_row(folder, epoch, logs)
        # The last, so that what it stands for is all there.
        save_weights(learner, folder / PROGRESS_FILE)

    if begin < config.epochs:
        try:
            learner.fit(
                batches(config, parts["train"], skeleton, size, list(losses), begin * steps),
                initial_epoch=begin,
                epochs=config.epochs,
                steps_per_epoch=steps,
                verbose=2,
                shuffle=False,  # the batches are
                callbacks=[looks, keras.callbacks.LambdaCallback(on_epoch_end=keep)],
            )
        except NotFiniteError:
            keep_best(folder / BEST_FILE)
    model.load_weights(folder / BEST_FILE)


class _Looks(keras.callbacks.Callback):
    """Measures on the validation part after each epoch, and keeps the best weights.

    It raises NotFiniteError: Keras' TerminateOnNaN would let other callbacks end the epoch.
    """

    def __init__(self, network, crops, size, skeleton, folder):
        super().__init__()
        self._network, self._crops, self._size = network, crops, size
        self._run = _runner(network)
        self._skeleton, self._folder = skeleton, folder
        self._best = best_score(folder) if (folder / BEST_FILE).exists() else -math.inf

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            raise NotFiniteError(f"The loss of step {batch} is {logs['loss']}.")

    def on_epoch_end(self, epoch, logs=None):
        found = evaluate(self._run, self._crops, self._size, self._skeleton)
        logs["val_mpjpe"] = found.mpjpe
        if found.pck is not None:
            logs["val_pck"] = found.pck
        if score_of(logs) > self._best:
            self._best = score_of(logs)
            save_weights(self._network, self._folder / BEST_FILE)


def _runner(model: keras.Model):
    predict = tf.function(lambda x: model(x, training=False)[KEYPOINTS])
    return lambda pixels: predict(preprocess_input(pixels)).numpy()


def _calibration_images(crops: Crops, size: tuple[int, int]) -> np.ndarray:
    few = spread_indices(len(crops.pixels), CALIBRATION_IMAGES)
    return inputs_of(crops.pixels[few], size)


def _export(
    trained: keras.Model | QuantizedModel, parts, skeleton, size, images, folder: Path
) -> None:
    """Writes the network in every format, and measures each file on the test part."""
    names = write_artefacts(
        trained,
        folder,
        class_names=skeleton.joints,
        calibration_images=images,
        overwrite=True,
    )
    _measure(names, parts["test"], skeleton, size, folder)
    model = trained.model if isinstance(trained, QuantizedModel) else trained
    _draw(_runner(model), parts["test"], skeleton, size, folder)
    print(f"written: {folder}")


def _measure(names, crops: Crops, skeleton, size, folder: Path) -> None:
    """Measures artefacts, prints a table, and writes it as JSON."""
    rows, found = [], {}
    for name in names:
        network = read_network(folder / name)
        batch = network.input_shape[0] or 32
        quality = evaluate(
            lambda x, network=network: network.outputs(x)[KEYPOINTS], crops, size, skeleton, batch
        )
        found[name] = dataclasses.asdict(quality)
        shares = [quality.pck, quality.pckh]
        percent = ("-" if share is None else f"{100 * share:.2f}" for share in shares)
        rows.append([name, *percent, f"{quality.mpjpe:.2f}"])
    write_json(folder / RESULT_FILE, found)
    header = ["artefact", "PCK@0.2, %", "PCKh@0.5, %", "MPJPE, px"]
    print(markdown_table([header, *rows], right=(1, 2, 3)))


def _draw(run, crops: Crops, skeleton, size, folder: Path) -> None:
    few = spread_indices(len(crops.pixels), _SHOWN)
    shown = inputs_of(crops.pixels[few], size)
    draw_sheet(shown, run(shown), skeleton, folder / "predictions.png")
