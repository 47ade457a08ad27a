"""Measures the files that a model can be converted to on this machine, and recommends one.

    python -m converters.choose --model=mine.keras --calibration=imagefolder:pictures
    python -m converters.choose --model=mine.keras --target=tf-serving --threads=2 --batch=16

Every candidate file is written, compared with the model itself on the pictures, and timed in a
separate process. The candidates take turns, and times are medians. The recommended candidate is the
fastest one whose predictions agree with the model's, see --least_same; the command that writes it
is printed too.
Measure while nothing else runs. The times on a phone are different: docs/android.md explains how to
measure there.
"""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

from absl import flags

from converters.choices import CALIBRATION, PLACES
from levit_common import cli
from levit_common.model_sources import KERAS_SOURCES, check_source


def main() -> None:
    from converters.deploy import deploy_graph
    from converters.speed import choice
    from converters.tflite.calibration import calibration_images
    from levit_common.markdown import markdown_table
    from levit_tf.applications import load_by_name

    args = flags.FLAGS
    model = load_by_name(args.model)
    size = deploy_graph(model, input_range=args.input_range).input.shape[1:]
    images = calibration_images(args.calibration, size)
    if missing := choice.missing_for(args.target):
        print(f"left out, as not installed: {', '.join(missing)}")
    names = choice.names_for(args.target)
    print(f"measuring {', '.join(names)} ...", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        measured = choice.measure(
            model,
            args.target,
            images,
            Path(folder),
            threads=args.threads,
            batch=args.batch,
            turns=args.turns,
            seconds=args.seconds,
            input_range=args.input_range,
        )
    print(markdown_table(choice.table(measured), right=range(1, 7)))
    print(
        f"{args.batch} at a time, {args.threads} thread{'s' if args.threads > 1 else ''}; same "
        f"class as the model on {min(len(images), choice.COMPARED)} pictures"
    )
    found = choice.choose(measured, args.least_same)
    if found is None:
        raise ValueError(
            f"no candidate predicts the model's class for {args.least_same:.0%} of the pictures. "
            "Give pictures like those of the application (--calibration), or a lower --least_same."
        )
    print(f"recommended: {found.name}\n  {_command(found.name)}")
    if args.target == "android":
        print("measured on this machine, not on a phone; docs/android.md says how to measure there")


def _command(name: str) -> str:
    """Returns the command line that writes the file of a candidate."""
    from converters.speed.candidates import CANDIDATES

    args, candidate = flags.FLAGS, CANDIDATES[name]
    if args.target == "tf-serving":
        precision = candidate.command.rpartition("=")[2]
        words = ["python", "-m", "serving.export", f"--model={args.model}"]
        words += [f"--precision={precision}", "--name=NAME", "--repository=models"]
    else:
        words = ["python", "-m", *candidate.command.split()]
        words += [f"--model={args.model}", f"--output={Path(args.model).stem}-{candidate.file}"]
        if "int8" in candidate.file:
            words.append(f"--calibration={args.calibration}")
    if args.input_range:
        words.append(f"--input_range={args.input_range}")
    return shlex.join(words)


def define_flags() -> None:
    flags.DEFINE_string("model", None, f"Classifier that contains a LeViT: {KERAS_SOURCES}.")
    flags.DEFINE_enum("target", PLACES[0], PLACES, "Where the model will run.")
    flags.DEFINE_integer(
        "threads", 1, "Number of CPU threads that each candidate may use.", lower_bound=1
    )
    flags.DEFINE_integer("batch", 1, "Batch size.", lower_bound=1)
    flags.DEFINE_string(
        "calibration",
        "photographs",
        "Pictures on which predictions are compared, and from which int8 learns its ranges: "
        f"{CALIBRATION}. Pictures like those of the application are best.",
    )
    flags.DEFINE_float(
        "least_same", 0.95, "Least share of predictions that must equal the model's.", 0.0, 1.0
    )
    flags.DEFINE_integer("turns", 7, "How many times each candidate is measured.", lower_bound=1)
    flags.DEFINE_float("seconds", 0.3, "Approximate length of one measurement.", lower_bound=0)
    cli.define_input_range()
    flags.mark_flags_as_required(["model"])


def check() -> None:
    check_source(flags.FLAGS.model)


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
