"""Whether the promise of a dynamic file holds: thresholds from one half of the pictures, often.

    python -m benchmarks.dynamic_guarantee --files=DIR/fp32.tflite,DIR/int8.tflite \\
        --plain=fp32.tflite,int8.tflite --data=FOLDER --splits=100

Every step of each file answers every held-out picture of the folder once. Then thresholds are
chosen from a random half, again and again, and three things are counted:

- how often the error of the promise, "left early and wrong where the whole is right", exceeds
  epsilon among the pictures of the other half. Halves of a fixed set are no two draws: where the
  one has fewer of these pictures than its share the other has more, and both are noisy, so this
  comes out higher than delta even where the promise is exact.
- how often it exceeds epsilon among all pictures, the half being drawn from them with replacement:
  that is what is promised, delta at most.
- how many pictures leave, what they get right and how long they take.

PLAIN are the single networks that the files are compared with, in the same order: their accuracy
on the other halves, and their time, one thread, one picture at a time, in turns with the paths.
Without them, it is the whole network's path in the file itself. Writes dynamic_guarantee.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks.support import options, results
from converters.speed.turns import in_turns
from levit_common import cli

SINGLE = "single network"
EPSILONS = (0.005, 0.01, 0.02)
COLUMNS = (
    *("file", "epsilon, %", "exceeded on the other half, %", "on all, %", "standard error"),
    *("leaving, %", "top-1, %", "of the single network, %", "mean ms", "of the single network's"),
)


def risk(logits: Sequence[np.ndarray], labels: np.ndarray, found) -> tuple[float, np.ndarray]:
    """(share of the error that is promised against, the step that answers each picture).

    Args:
      logits: of each step, (n, classes).
      labels: (n,).
      found: a `levit_tf.dynamic.calibration.Calibration`.
    """
    from levit_tf.dynamic.calibration import answers, leaving_step

    steps = leaving_step(logits, found.temperatures, found.thresholds)
    is_wrong = answers(logits, steps).argmax(axis=1) != labels
    is_whole_right = logits[-1].argmax(axis=1) == labels
    left = steps < len(logits) - 1
    return float(np.mean(left & is_wrong & is_whole_right)), steps


def split_row(
    name: str,
    logits: Sequence[np.ndarray],
    labels: np.ndarray,
    times: Sequence[float],
    single: tuple[np.ndarray, float],
    epsilon: float,
    delta: float,
    splits: int,
) -> tuple:
    """Cells of `COLUMNS` for one file and one epsilon.

    Args:
      name: of the file.
      logits: of each step, (n, classes).
      labels: (n,).
      times: of a picture that each step answers, ms.
      single: whether the single network is right, (n,), and its time, ms.
      epsilon: of the promise.
      delta: of the promise.
      splits: how many.
    """
    from levit_common.arrays import standard_error
    from levit_tf.dynamic.calibration import answers, calibrate

    count, rng = len(labels), np.random.default_rng(0)
    on_other = on_all = 0
    is_right, single_ms = single
    leaving, top1, of_single, mean_ms = [], [], [], []
    for seed in range(splits):
        order = rng.permutation(count)
        half, other = order[: count // 2], order[count // 2 :]
        drawn = rng.integers(0, count, count // 2)
        for chosen, judged in ((half, other), (drawn, np.arange(count))):
            found = calibrate(
                [one[chosen] for one in logits],
                labels[chosen],
                epsilon=epsilon,
                delta=delta,
                seed=seed,
            )
            part, truth = [one[judged] for one in logits], labels[judged]
            error, steps = risk(part, truth, found)
            if judged is not other:
                on_all += error > epsilon
                continue
            on_other += error > epsilon
            leaving.append(np.mean(steps < len(logits) - 1))
            top1.append(np.mean(answers(part, steps).argmax(axis=1) == truth))
            of_single.append(np.mean(is_right[judged]))
            mean_ms.append(np.mean(np.array(times)[steps]))
    return (
        name,
        100 * epsilon,
        100 * on_other / splits,
        100 * on_all / splits,
        100 * standard_error(delta, splits),
        100 * float(np.mean(leaving)),
        100 * float(np.mean(top1)),
        100 * float(np.mean(of_single)),
        float(np.mean(mean_ms)),
        float(np.mean(mean_ms)) / single_ms,
    )


def rows(files: Sequence[str], plain: Sequence[str], folder: str, delta: float, splits: int):
    """Cells of `COLUMNS` of all files and epsilons."""
    from converters.dynamic.recalibration import all_logits
    from converters.dynamic.running import open_dynamic
    from levit_lite.prediction.tflite_network import tflite_network
    from levit_tf.pictures.labelled_pictures import labelled_pictures
    from levit_tf.pictures.run_pictures import seen_in_training
    from levit_tf.prediction.predictor import load_predictor

    for number, path in enumerate(files):
        predictor = load_predictor(path)
        file = open_dynamic(path, threads=1)
        pictures = labelled_pictures(
            folder, predictor.class_names, file.input_size, seen_in_training(path)
        )
        logits, labels = all_logits(file, pictures)
        one = np.float32(next(pictures.batches())[0][:1])
        calls: dict = file.calls_of_paths(one)
        answered = logits[-1]
        if plain:
            network = tflite_network(plain[number], threads=1)
            calls[SINGLE] = partial(network.outputs, one)
            answered = np.concatenate(
                [
                    next(iter(network.outputs(np.float32(image)[None]).values()))
                    for images, _ in pictures.batches()
                    for image in images
                ]
            )
        ms = {name: times.ms for name, times in in_turns(calls, 100).items()}
        times = [ms[step] for step in range(file.steps)]
        single = (answered.argmax(axis=1) == labels, ms.get(SINGLE, times[-1]))
        print(f"{path}: ms of each path: {', '.join(f'{t:.2f}' for t in times)}", flush=True)
        for epsilon in EPSILONS:
            yield split_row(Path(path).name, logits, labels, times, single, epsilon, delta, splits)


def main() -> None:
    args = flags.FLAGS
    if args.plain and len(args.plain) != len(args.files):
        raise ValueError(f"--plain: one file for each of the {len(args.files)} of --files.")
    found = list(rows(args.files, args.plain, args.data, args.delta, args.splits))
    results.publish("dynamic_guarantee", COLUMNS, found, args.output)


def define_flags() -> None:
    flags.DEFINE_list("files", None, "Dynamic files of converters.to_dynamic.")
    flags.DEFINE_list("plain", [], "The single network's .tflite for each of them.")
    flags.DEFINE_string("data", None, "Folder of labelled pictures that training has not seen.")
    flags.DEFINE_float("delta", 0.1, "Delta of the promise.", lower_bound=0.001, upper_bound=0.999)
    flags.DEFINE_integer("splits", 100, "How often thresholds are chosen.", lower_bound=1)
    options.define_output()
    flags.mark_flags_as_required(["files", "data"])


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
