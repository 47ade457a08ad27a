"""Quantisation-aware training for joints: a network that finds them learns how int8 rounds."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import levit_tf
from converters.deploy import deploy_graph
from converters.qat.qat_model import QuantizedModel, load_quantized
from converters.qat.qat_network import fake_quantize, float_ranges, set_ranges
from levit_common.files import atomic_path
from levit_common.regular_files import ModelFileError, first_line
from levit_common.shipped_names import KEYPOINTS
from levit_tf.fusion import has_levit_layers
from levit_tf.keras_graph.introspection import variant_of
from levit_tf.keypoints.decoding import DecodeSimCC, read_joints
from levit_tf.keypoints.measures import NotFiniteError
from levit_tf.keypoints.network import DECODER
from levit_tf.keypoints.skeletons import Skeleton
from levit_tf.preprocessing import preprocess_input
from levit_tf.variants import get_variant
from training.keypoints.batches import CLIP_NORM, Rate, batches, losses_of, steps_of
from training.keypoints.config import KeypointConfig
from training.keypoints.evaluation import evaluate
from training.keypoints.people import Crops
from training.keypoints.progress import (
    QAT_BEST_FILE,
    QAT_PROGRESS_FILE,
    append_row,
    best_score,
    forget_rows,
    keep_best,
    score_of,
)
from training.networks.initial import check_input_range
from training.networks.qat import Student, shipped
from training.optim.optimizer import AdamW


def float_network(
    config: KeypointConfig, model: keras.Model, skeleton: Skeleton, size: tuple[int, int]
) -> keras.Model:
    """Fuses the trained network that a run begins with.

    Args:
      config: with `qat`.
      model: the network that `config.init_from` names.
      skeleton: joints of the data.
      size: (height, width) of the run, pixels.

    Raises:
      ValueError: it finds other joints, or none, or is of another size, head or variant.
    """
    output = getattr(model, "output", None)
    if not isinstance(output, dict) or KEYPOINTS not in output:
        raise ValueError(
            f"init_from={config.init_from}: finds no joints. qat={config.qat} begins with the "
            "final.keras of a run that was trained for joints."
        )
    check_input_range(model, f"init_from={config.init_from}")
    decoder = model.get_layer(DECODER)
    found = {
        "joints": (decoder.joints, tuple(skeleton.joints)),
        "input_size": (tuple(model.input_shape[1:3]), tuple(size)),
        "head": ("simcc" if isinstance(decoder, DecodeSimCC) else "heatmap", config.head),
        "sigma": (decoder.sigma, config.sigma or decoder.sigma),
    }
    if has_levit_layers(model):  # a fused network does not tell its variant
        found["variant"] = (variant_of(model).name, get_variant(config.variant).name)
        model = levit_tf.fuse(model)
    for name, (has, wanted) in found.items():
        if has == wanted:
            continue
        if name == "joints":
            instead = "Use data with the same joints."
        else:
            has, wanted = ("x".join(map(str, np.atleast_1d(value))) for value in (has, wanted))
            instead = f"Set {name}={has}."
        raise ValueError(
            f"init_from={config.init_from}: has {name} {has}; the run {wanted}. {instead}"
        )
    return model


def train_for_int8(
    config: KeypointConfig,
    source: keras.Model,
    parts: Mapping[str, Crops],
    skeleton: Skeleton,
    images: np.ndarray,
    folder: Path,
) -> QuantizedModel:
    """Trains, and takes the best epoch by the validation part.

    Args:
      config: with `qat`.
      source: see `float_network`.
      parts: "train" and "validation".
      skeleton: the joints.
      images: training pictures (n, height, width, 3), RGB 0..255, for the ranges to begin with.
      folder: of the run, which goes on after the last whole epoch that is in it.

    Raises:
      ModelFileError: what the folder has of an earlier run is damaged.
      ValueError: the loss became infinite or not a number in the first epoch.
    """
    size, decoder = tuple(source.input_shape[1:3]), source.get_layer(DECODER)
    losses, steps = losses_of(decoder), steps_of(config, parts["train"])
    student = _student(config, source, images)
    variables = student.trainable_variables
    rate = Rate(config.learning_rate, steps, config.epochs * steps)
    optimizer = AdamW(variables, rate, config.weight_decay)
    state = [*student.variables, *optimizer.variables]

    @tf.function(autograph=False)
    def step(pixels, joints):
        with tf.GradientTape() as tape:
            logits = student(pixels, training=True)
            terms = [losses[name].call(joints[name], logits[name]) for name in losses]
            loss = tf.add_n(list(map(tf.reduce_mean, terms)))
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), CLIP_NORM)
        optimizer.apply(gradients)
        return loss

    run = runner(student, decoder)
    begin = _restored_epoch(folder, state, optimizer, steps)
    best = best_score(folder) if (folder / QAT_BEST_FILE).exists() else -math.inf
    people = iter(
        batches(config, parts["train"], skeleton, size, list(losses), begin * steps)
        if begin < config.epochs
        else ()
    )
    for epoch in range(begin, config.epochs):
        loss = float(np.mean([step(*next(people)) for _ in range(steps)]))
        try:
            if not math.isfinite(loss):
                raise NotFiniteError(f"The loss of epoch {epoch} is {loss}.")
            quality = evaluate(run, parts["validation"], size, skeleton)
        except NotFiniteError:
            keep_best(folder / QAT_BEST_FILE)
            break
        row = {"loss": loss, "val_mpjpe": quality.mpjpe}
        row |= {} if quality.pck is None else {"val_pck": quality.pck}
        values = ", ".join(f"{name} {value:.4f}" for name, value in row.items())
        print(f"epoch {epoch + 1}/{config.epochs}: {values}", flush=True)
        if score_of(row) > best:
            best = score_of(row)
            with atomic_path(folder / QAT_BEST_FILE, overwrite=True) as temporary:
                shipped(source, config.qat, student).save(temporary)
        append_row(folder, epoch, row)
        # The last, so that what it stands for is all there.
        with atomic_path(folder / QAT_PROGRESS_FILE, overwrite=True) as temporary:
            np.savez(temporary, *(variable.numpy() for variable in state))
    return load_quantized(folder / QAT_BEST_FILE)


def runner(student: Student, decoder: keras.layers.Layer):
    """Plain pixels (n, height, width, 3) -> joints (n, joints, 3), by a network in training."""

    @tf.function(autograph=False)
    def predict(images):
        return read_joints(decoder, student(images, training=False))

    return lambda pixels: predict(preprocess_input(pixels)).numpy()


def _student(config: KeypointConfig, source: keras.Model, images: np.ndarray) -> Student:
    graph = deploy_graph(source)
    network = fake_quantize(graph, config.qat)
    set_ranges(network, float_ranges(graph, config.qat, images))
    return Student(network, distils=False)


def _restored_epoch(folder: Path, state: list[tf.Variable], optimizer: AdamW, steps: int) -> int:
    """Takes up the training that a folder has, if any; returns the epoch to begin with."""
    path = folder / QAT_PROGRESS_FILE
    if path.exists():
        try:
            with np.load(path) as archive:
                values = [archive[f"arr_{n}"] for n in range(len(archive.files))]
            for variable, value in zip(state, values, strict=True):
                variable.assign(value)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ModelFileError(
                f"{path}: damaged, or of another network. --overwrite begins anew. "
                f"{first_line(error)}"
            ) from error
    epoch = int(optimizer.iterations) // steps
    forget_rows(folder, epoch)
    return epoch
