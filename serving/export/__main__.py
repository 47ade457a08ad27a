"""Exports a LeViT as a version of a model for TensorFlow Serving.

    python -m serving.export --model=levit256.keras --name=levit256 --repository=models
    python -m serving.export --model=LeViT256 --name=levit256 --repository=models \\
        --precision=bfloat16

    python -m serving.export --model=exits.keras --dynamic=DIR/dynamic.json --name=levit \\
        --repository=models

The version has the signatures of `serving.signatures`, labels and warm-up records. It is loaded as
TensorFlow Serving loads it and compared with Keras before it gets its number. models.config and the
files for starting a server are written beside it, or updated.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from converters.choices import CONSTANTS, LABELS_HELP, PRECISIONS, WEIGHTS, WEIGHTS_HELP
from levit_common import cli
from levit_common.model_sources import KERAS_SOURCES, check_source
from serving.repository import Repository, check_name
from serving.signatures import TOP_K

if TYPE_CHECKING:
    from serving.export.exporting import Export


def main() -> None:
    from serving.export import deployment
    from serving.export.exporting import export, load_model

    args = flags.FLAGS
    *names, last = _sources()
    quicker = [load_model(name)[0] for name in names]
    model, folders = load_model(last)
    calibration = None
    if args.dynamic:
        from converters.dynamic.record import check_models, served_calibration

        calibrated, calibration = served_calibration(args.dynamic)
        unchecked = check_models(args.dynamic, [*quicker, model], [*names, last])
        print(f"{args.dynamic}, {calibrated}: {calibration}")
        if unchecked:
            print(unchecked)
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
    repository = Repository(args.repository).path
    for line in notes_on_serving(done, repository, args.name):
        print(line)
    for path in done.deployment_files:
        print(f"written: {path}")
    base, cores = done.base, os.cpu_count() or 1
    stand_in = deployment.stand_in_command(repository, base, args.name)
    for title, command in (
        ("TensorFlow Serving", deployment.server_command(base, cores)),
        ("its container", deployment.docker_command(repository, base, cores)),
        ("the stand-in, for laptops and tests", stand_in),
    ):
        print(f"\n{title}:\n  {command}")


def _sources() -> list[str]:
    """Returns the networks that `--model` names, the fastest first."""
    args = flags.FLAGS
    return args.model.split(",") if args.dynamic else [args.model]


def notes_on_serving(done: Export, repository: Path, name: str) -> list[str]:
    """Returns lines about why servers may not serve the version that has been published.

    Args:
      done: the published version.
      repository: the folder of models.
      name: name of the served model.
    """
    lines = []
    if done.version not in done.served:
        served = ", ".join(map(str, done.served)) or "no version"
        command = (
            f"python -m serving.versions --repository={shlex.quote(str(repository))} "
            f"--name={name} --serve={done.version}"
        )
        lines.append(f"not served: models.config serves {served}. To serve it, too: {command}")
    if done.replaced:
        lines.append(
            f"replaced: servers that have loaded version {done.version} keep what they have loaded "
            "until they are started again."
        )
    return lines


def define_flags() -> None:
    flags.DEFINE_string("model", None, f"LeViT, or a joint predictor: {KERAS_SOURCES}.")
    flags.DEFINE_string(
        "dynamic",
        None,
        "dynamic.json of converters.to_dynamic, for a model with exits; or for a cascade, whose "
        "networks --model lists, the fastest first.",
    )
    flags.DEFINE_string("name", None, "Name of the served model.")
    flags.DEFINE_string("repository", None, "Folder of models.")
    flags.DEFINE_integer("version", None, "Number of the version; by default the next one.")
    flags.DEFINE_string("labels", None, LABELS_HELP)
    cli.define_input_range()
    flags.DEFINE_enum("precision", "float32", PRECISIONS, "Precision that the network computes in.")
    flags.DEFINE_enum("weights", CONSTANTS, WEIGHTS, WEIGHTS_HELP)
    flags.DEFINE_integer("top_k", TOP_K, "Number of classes to return.")
    flags.DEFINE_integer(
        "keep_shape_up_to",
        None,
        "For a network that accepts every size: pictures keep their shape up to so many pixels on "
        "their longer side. By default it is served at the size that it was trained at.",
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
    for source in _sources():
        check_source(source)


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
