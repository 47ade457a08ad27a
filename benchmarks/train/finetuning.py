"""Top-1 after fine-tuning on a folder of pictures, beside plain Keras with Adam(1e-3).

    python -m benchmarks.train.finetuning --images=FOLDER --init_from=FILE --variant=LeViTTiny \\
        --epochs=3,10,30 --seeds=3

Ours is `training.main --config=imagefolder` with that folder, network and number of epochs, and
`--batch`; all else is what the plan chooses, as printed. The peer is what a Keras user writes
first: the same network with a fresh head, `compile(keras.optimizers.Adam(1e-3))` and `fit`, every
layer trainable, no augmentation, on the same pictures with the same normalisation, for as many
epochs in batches of the same size. Both are tested on the same held-out pictures after the last
epoch. Writes finetuning.json, with every seed's figure.
"""

from __future__ import annotations

import dataclasses
import statistics
import time

import numpy as np
from absl import flags

from benchmarks.support import options, results
from levit_common import cli

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


class Ours:
    """Runs of the README's line up to its exports, of one number of epochs.

    Building and compiling takes longer than training on some hundred small pictures, so the session
    of the first seed is used again: with the initial weights, order and draws of another.
    """

    def __init__(self, epochs: int):
        from training.loop.session import make_session
        from training.run import load_config_data
        from training.strategy import make_strategy

        config = config_of(epochs, seed=0)
        self._epochs = epochs
        self._session = make_session(config, load_config_data(config), make_strategy("default"))
        self._step = self._session.train_step()
        self._evaluators = self._session.evaluators()
        self.steps = self._session.schedule.steps
        print(self._session.plan, flush=True)

    def train(self, seed: int) -> float:
        """Top-1 in percent of the network that is shipped."""
        import tensorflow as tf

        session = dataclasses.replace(
            self._session, config=dataclasses.replace(self._session.config, seed=seed)
        )
        self._begin(session)
        stop = tf.constant(0.0)
        for batch in session.train_batches(0):
            self._step(*batch, stop)
        scores = [score() for score in (self._evaluators.raw, self._evaluators.ema) if score]
        return 100 * max(scores)

    def _begin(self, session) -> None:
        """Sets every variable to what a session of this seed begins with."""
        import keras
        import tensorflow as tf

        from training.networks import network
        from training.networks.initial import find_source

        config, names = session.config, session.data.class_names
        keras.utils.set_random_seed(config.seed)
        model = network.student(config, len(names))
        network.initialise(find_source(config), model, names)
        for own in (session.model, *([session.ema.model] if session.ema else [])):
            own.set_weights(model.get_weights())
        for variable in session.optimizer.variables:
            variable.assign(tf.zeros_like(variable))


class Adam:
    """Runs of the peer."""

    def __init__(self, epochs: int):
        import keras

        import levit_tf
        from training.data import load_data
        from training.networks import network
        from training.run import load_config_data

        self._config = config_of(epochs, seed=0)
        held_out = load_config_data(self._config)
        training = load_data(
            self._config.dataset, split_test="train", input_size=held_out.input_size
        )
        self._names = held_out.class_names
        (images, self._labels), (test_images, self._test_labels) = (
            data.test_images() for data in (training, held_out)
        )
        self._images, self._test_images = (
            levit_tf.preprocess_input(pixels.astype(np.float32)) for pixels in (images, test_images)
        )
        self._model = network.student(self._config, len(self._names))
        self._model.compile(
            keras.optimizers.Adam(ADAM_RATE),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        self.steps = self._config.epochs * -(-len(images) // flags.FLAGS.batch)

    def train(self, seed: int) -> float:
        """Top-1 in percent after the last epoch."""
        import keras

        from training.networks import network
        from training.networks.initial import find_source

        model = self._model
        keras.utils.set_random_seed(seed)
        fresh = network.student(self._config, len(self._names))
        head = fresh.get_layer("classifier").get_weights()
        network.initialise(find_source(self._config), fresh, self._names)
        fresh.get_layer("classifier").set_weights(head)
        model.set_weights(fresh.get_weights())
        for variable in model.optimizer.variables:
            if variable is not model.optimizer.learning_rate:
                variable.assign(keras.ops.zeros_like(variable))
        model.fit(
            *(self._images, self._labels),
            batch_size=flags.FLAGS.batch,
            epochs=self._config.epochs,
            verbose=0,
        )
        found = model.predict(self._test_images, verbose=0).argmax(axis=1)
        return 100 * float(np.mean(found == self._test_labels))


def main() -> None:
    import keras
    import tensorflow as tf

    args = flags.FLAGS
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    kinds = {"ours": Ours, "adam": Adam}
    rows = []
    for epochs in map(int, args.epochs):
        for side in SIDES if args.side == "both" else [args.side]:
            start = time.perf_counter()
            runs = kinds[side](epochs)
            scores = [runs.train(seed) for seed in range(args.seeds)]
            keras.backend.clear_session()
            seconds = time.perf_counter() - start
            each = ", ".join(f"{score:.2f}" for score in scores)
            print(f"{SIDES[side]}, {epochs} epochs: {each} %, {seconds:.0f} s", flush=True)
            mean = round(statistics.mean(scores), 2)
            rows.append((SIDES[side], epochs, runs.steps, mean, min(scores), max(scores), each))
    results.publish("finetuning", COLUMNS, rows, args.output)


def define_flags() -> None:
    flags.DEFINE_string("images", None, "Folder with a sub-folder for each class.")
    flags.DEFINE_string("init_from", None, "What the weights begin with, as --set=init_from takes.")
    flags.DEFINE_string("variant", "LeViT256", "Name of the network.")
    flags.DEFINE_string("input_size", None, "Size of the pictures, as --set=input_size takes it.")
    flags.DEFINE_integer("batch", 16, "Pictures in a step.", lower_bound=1)
    flags.DEFINE_list("epochs", ["3", "10", "30"], "Numbers of epochs to train for.")
    flags.DEFINE_integer("seeds", 3, "Runs of each side.", lower_bound=1)
    flags.DEFINE_integer("threads", 2, "Threads of either side.", lower_bound=1)
    flags.DEFINE_enum("side", "both", ["both", *SIDES], "What to train.")
    flags.DEFINE_multi_string("set", [], "field=value for ours; may be repeated.")
    options.define_output()
    flags.mark_flags_as_required(["images", "init_from"])


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
