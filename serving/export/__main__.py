"""A LeViT to a version of a model that TensorFlow Serving serves.

    python -m serving.export --model=levit256.keras --name=levit256 --repository=models
    python -m serving.export --model=LeViT256 --name=levit256 --repository=models \\
        --precision=bfloat16

    python -m serving.export --model=exits.keras --dynamic=DIR/dynamic.json --name=levit \\
        --repository=models

The version, with the signatures of `serving.signatures`, its labels and warm-up records, is loaded
as TensorFlow Serving loads it, compared with Keras, and only then given its number. models.config
and the files to start a server with are written beside it, or brought up to date.
"""

from __future__ import annotations

import os

from absl import flags

from converters.choices import CONSTANTS, PRECISIONS, WEIGHTS, WEIGHTS_HELP
from levit_common import cli
from serving.repository import Repository, check_name
from serving.signatures import TOP_K


def main() -> None:
    from serving.export import deployment
    from serving.export.exporting import export, load_model

    args = flags.FLAGS
    *names, last = args.model.split(",") if args.dynamic else [args.model]
    quicker = [load_model(name)[0] for name in names]
    model, folders = load_model(last)
    calibration = None
    if args.dynamic:
        from converters.dynamic.record import read_calibration

        calibration = read_calibration(args.dynamic)
    done = export(
        model,
        args.name,
        args.repository,
        version=args.version,
        class_names=args.labels,
        label_folders=folders,
        input_range=args.input_range,
        precision=args.precision,
        weights=args.weights,
        top_k=args.top_k,
        tflite=args.tflite,
        base=args.base,
        overwrite=args.overwrite,
        quicker=quicker,
        calibration=calibration,
        keep_shape_up_to=args.keep_shape_up_to,
    )
    checks = done.checks
    print(
        f"published: {done.path}\n"
        f"difference in TensorFlow's session: {checks.function:g} from the function, "
        f"{checks.keras:.1e} of the largest value from Keras, {checks.bytes:g} from levit_tf's own "
        f"preprocessing; {checks.requests} warm-up requests answered"
    )
    for path in done.deployment_files:
        print(f"written: {path}")
    repository = Repository(args.repository).path
    base, cores = done.base, os.cpu_count() or 1
    for title, command in (
        ("TensorFlow Serving", deployment.server_command(base, cores)),
        ("its container", deployment.docker_command(repository, base, cores)),
        ("the stand-in, for laptops and tests", deployment.stand_in_command(str(repository))),
    ):
        print(f"\n{title}:\n  {command}")


def define_flags() -> None:
    flags.DEFINE_string(
        "model",
        None,
        "LeViT of either form, or one that finds joints, a .keras file; or a variant, for released "
        "weights.",
    )
    flags.DEFINE_string(
        "dynamic",
        None,
        "dynamic.json of converters.to_dynamic, for a model with exits; or for a cascade, whose "
        "networks --model then lists, the quickest first.",
    )
    flags.DEFINE_string("name", None, "Name of the served model.")
    flags.DEFINE_string("repository", None, "Folder of models.")
    flags.DEFINE_integer("version", None, "Number of the version; by default the next one.")
    flags.DEFINE_string("labels", None, "Class names, one a line; by default those of the model.")
    cli.define_input_range()
    flags.DEFINE_enum("precision", "float32", PRECISIONS, "What the network computes in.")
    flags.DEFINE_enum("weights", CONSTANTS, WEIGHTS, WEIGHTS_HELP)
    flags.DEFINE_integer("top_k", TOP_K, "How many classes are named.")
    flags.DEFINE_integer(
        "keep_shape_up_to",
        None,
        "Of a network for pictures of every size: these keep their shape up to that many pixels on "
        "their longer side. By default it is served for the size that it was trained at.",
        lower_bound=1,
    )
    flags.DEFINE_bool("tflite", False, "Add a model.tflite, for --prefer_tflite_model.")
    flags.DEFINE_string(
        "base", None, "The repository as the server sees it, if elsewhere, such as /models."
    )
    flags.DEFINE_bool("overwrite", False, "Replace an existing version.")
    flags.mark_flags_as_required(["model", "name", "repository"])


def check() -> None:
    check_name(flags.FLAGS.name)


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
