"""Top-1 after fine-tuning on a folder of pictures, beside plain Keras with Adam(1e-3).

    python -m benchmarks.finetuning --images=FOLDER --init_from=FILE --variant=LeViTTiny \\
        --epochs=3,10,30 --seeds=3

Ours is `training.main --config=imagefolder` with that folder, network and number of epochs, and
`--batch`; all else is what the plan chooses, as printed. The peer is what a Keras user writes
first: the same network with a fresh head, `compile(keras.optimizers.Adam(1e-3))` and `fit`, every
layer trainable, no augmentation, on the same pictures with the same normalisation, for as many
epochs in batches of the same size. Both are tested on the same held-out pictures after the last
epoch. Writes finetuning.json, with every seed's figure.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
from absl import flags

from benchmarks import results
from converters import cli

SIDES = {"ours": "levit_tf", "adam": "Keras, Adam(1e-3)"}
ADAM_RATE = 1e-3
COLUMNS = ("side", "epochs", "steps", "top-1, %, mean", "lowest", "highest", "each seed")


def config_of(epochs: int, seed: int):
    """The README's line for this folder, as a configuration."""
    from training.config import load_config, override

    args = flags.FLAGS
    settings = [
        *(f"dataset=imagefolder:{args.images}", f"variant={args.variant}", f"epochs={epochs}"),
        *(f"init_from={args.init_from}", f"batch_size={args.batch}", f"seed={seed}"),
    ]
    if args.input_size:
        settings.append(f"input_size={args.input_size}")
    return override(load_config("imagefolder"), [*settings, *args.set])


def train_ours(epochs: int, seed: int) -> tuple[float, int]:
    """Top-1 in percent of what a run ships, and its steps."""
    import tensorflow as tf

    from training.run import load_config_data
    from training.session import make_session
    from training.strategy import make_strategy

    config = config_of(epochs, seed)
    session = make_session(config, load_config_data(config), make_strategy("default"))
    if seed == 0:
        print(session.plan, flush=True)
    step, stop = session.train_step(), tf.constant(0.0)
    batches = session.train_batches(0)
    for _ in range(session.schedule.steps):
        step(*next(batches), stop)
    evaluators = session.evaluators()
    scores = [evaluate() for evaluate in (evaluators.raw, evaluators.ema) if evaluate]
    return 100 * max(scores), session.schedule.steps


def train_adam(epochs: int, seed: int) -> tuple[float, int]:
    """The same of the peer."""
    import keras

    import levit_tf
    from training import network
    from training.data import load_data
    from training.run import load_config_data

    config = config_of(epochs, seed)
    held_out = load_config_data(config)
    training = load_data(config.dataset, split_test="train", input_size=held_out.input_size)
    (images, labels), (test_images, test_labels) = training.test_images(), held_out.test_images()
    keras.utils.set_random_seed(seed)
    model = network.student(config, len(held_out.class_names))
    head = [weight.numpy() for weight in model.get_layer("classifier").weights]
    if config.init_from:
        network.initialise(config, model, held_out.class_names)
        for weight, fresh in zip(model.get_layer("classifier").weights, head, strict=True):
            weight.assign(fresh)
    model.compile(
        keras.optimizers.Adam(ADAM_RATE),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    images, test_images = (
        levit_tf.preprocess_input(pixels.astype(np.float32)) for pixels in (images, test_images)
    )
    model.fit(images, labels, batch_size=flags.FLAGS.batch, epochs=epochs, verbose=0)
    found = model.predict(test_images, verbose=0).argmax(axis=1)
    steps = epochs * -(-len(images) // flags.FLAGS.batch)
    return 100 * float(np.mean(found == test_labels)), steps


def main(argv: list[str]) -> None:
    del argv  # cli.run lets none through
    import keras
    import tensorflow as tf

    args = flags.FLAGS
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    train = {"ours": train_ours, "adam": train_adam}
    rows = []
    for epochs in map(int, args.epochs):
        for side in SIDES if args.side == "both" else [args.side]:
            start, scores = time.perf_counter(), []
            for seed in range(args.seeds):
                score, steps = train[side](epochs, seed)
                scores.append(score)
                keras.backend.clear_session()
            seconds = time.perf_counter() - start
            print(f"{SIDES[side]}, {epochs} epochs: {scores}, {seconds:.0f} s", flush=True)
            each = ", ".join(f"{score:.2f}" for score in scores)
            mean = round(statistics.mean(scores), 2)
            rows.append((SIDES[side], epochs, steps, mean, min(scores), max(scores), each))
    results.publish("finetuning", COLUMNS, rows, args.output)


def define_flags() -> None:
    flags.DEFINE_string("images", None, "Folder with a sub-folder for each class.")
    flags.DEFINE_string("init_from", None, "What the weights begin with, as --set=init_from takes.")
    flags.DEFINE_string("variant", "LeViT256", "Name of the network.")
    flags.DEFINE_string("input_size", None, "Of the pictures, as --set=input_size takes it.")
    flags.DEFINE_integer("batch", 16, "Pictures in a step.", lower_bound=1)
    flags.DEFINE_list("epochs", ["3", "10", "30"], "Numbers of epochs to train for.")
    flags.DEFINE_integer("seeds", 3, "Runs of each side.", lower_bound=1)
    flags.DEFINE_integer("threads", 2, "Of either side.", lower_bound=1)
    flags.DEFINE_enum("side", "both", ["both", *SIDES], "What to train.")
    flags.DEFINE_multi_string("set", [], "field=value for ours; may be repeated.")
    results.define_output_flag()
    flags.mark_flags_as_required(["images", "init_from"])


if __name__ == "__main__":
    define_flags()
    cli.run(main)
