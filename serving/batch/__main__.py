"""Classifies any number of pictures with an Apache Beam pipeline.

    python -m serving.batch --model=levit.tflite --input='pictures/**.jpg' --output=answers
        [--runner=DirectRunner --direct_running_mode=multi_processing --direct_num_workers=2 ...]

The output is a folder of shards, each written completely or not at all; bad/ lists unreadable
pictures with the reasons. To resume after a stop, give the same command again. Beam's own flags are
passed to the runner.
"""

# No absl here: Beam's options use argparse, and workers need nothing but Beam and LiteRT.

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from levit_common.spelling import did_you_mean

_USER_ERRORS = (ValueError, OSError, ImportError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options, others = _parser().parse_known_args(arguments)
    try:
        return _run(options, others)
    except _USER_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace, others: Sequence[str]) -> int:
    try:
        import apache_beam as beam
    except ImportError as error:
        raise ImportError(
            "A batch needs Apache Beam, in an environment of its own: pip install apache-beam "
            "numpy pillow ai-edge-litert; pip install --no-deps levit_tf"
        ) from error
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

    from levit_lite.prediction.predictor import (
        check_takes_pictures,
        class_count,
        class_names_for,
    )
    from serving.batch.handler import LiteRTModelHandler
    from serving.batch.pipeline import COUNTERS, NAMESPACE, build
    from serving.batch.settings import (
        SUMMARY_FILE,
        Settings,
        digest_of,
        digest_of_files,
        open_output,
        write_json,
    )
    from serving.batch.sources import check_columns

    logging.getLogger("serving.batch").setLevel(logging.INFO)  # a line for each shard
    _check_others(options, others)
    pipeline_options = PipelineOptions(list(others))
    # Beam does so only when a pipeline is made, and most file systems cannot be used before.
    FileSystems.set_options(pipeline_options)
    _check(options, FileSystems)
    handler = LiteRTModelHandler(options.model, options.threads)
    network = handler.load_model(run_first=True)  # workers need not, once this one did
    check_takes_pictures(network)
    if options.embedding is not None and options.embedding not in network.output_shapes:
        raise ValueError(
            f"--embedding: {options.model} has no output {options.embedding!r}. Found: "
            f"{', '.join(network.output_shapes)}"
        )
    names = None
    if network.classes is not None:
        folders = [Path(options.model).parent]
        names = class_names_for(options.labels, folders, class_count(network), network.class_names)
    elif options.embedding is None:
        raise ValueError(
            f"{options.model}: no classifier; --embedding names the output to write. Found: "
            f"{', '.join(network.output_shapes)}"
        )
    patterns = tuple(options.input.split(","))
    settings = Settings(
        digest_of(options.model),
        patterns,
        digest_of_files(patterns),
        options.input_format,
        options.output_format,
        options.shards,
        options.top,
        options.embedding,
        None if names is None else tuple(names),
    )
    if options.input_format == "parquet":
        check_columns(patterns)
    open_output(options.output, settings, network.class_names)
    pipeline = beam.Pipeline(options=pipeline_options)
    build(pipeline, handler, settings, options.output)
    result = pipeline.run()
    result.wait_until_finish()
    counters = dict.fromkeys(COUNTERS, 0) | {
        counter.key.metric.name: counter.committed or 0
        for counter in result.metrics().query()["counters"]
        if counter.key.metric.namespace == NAMESPACE
    }
    write_json(FileSystems.join(options.output, SUMMARY_FILE), counters)
    print(json.dumps(counters))
    return 0


def _check(options: argparse.Namespace, file_systems) -> None:
    for name in ("top", "shards", "threads"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name}: expected at least 1. Received: {getattr(options, name)}")
    if not file_systems.exists(options.model):
        raise FileNotFoundError(f"{options.model}: no such file. Expected a .tflite file.")
    for pattern in options.input.split(","):
        if os.path.isdir(pattern):
            raise IsADirectoryError(
                f"--input: {pattern} is a folder. Give a pattern of its files, in quotes: "
                f"'{os.path.join(pattern, '**')}'"
            )


def _check_others(options: argparse.Namespace, others: Sequence[str]) -> None:
    """Refuses what is no flag of this command or of Beam, which only logs what it leaves out.

    Args:
      options: the flags of this command.
      others: all other arguments.

    Raises:
      ValueError: an argument belongs to no flag, or a flag is unknown. With another runner than
        Beam's own, only one that resembles a flag of this command, as the runner may know more.
    """
    from apache_beam.options.pipeline_options import PipelineOptions, _BeamArgumentParser

    parser = _BeamArgumentParser(allow_abbrev=False)
    for kind in PipelineOptions.__subclasses__():
        kind._add_argparse_args(parser)
    known, unknown = parser.parse_known_args(others)
    own, of_beam = ([f"--{name}" for name in vars(found)] for found in (options, known))
    for argument in unknown:
        flag = argument.split("=")[0]
        if not flag.startswith("--"):
            raise ValueError(
                f"{argument}: belongs to no flag. Put patterns in quotes, so that the shell leaves "
                "them as they are: --input='pictures/*.jpg'. Other values follow a flag and =."
            )
        if known.runner in (None, "DirectRunner") or did_you_mean(flag, own):
            hint = did_you_mean(flag, own + of_beam)
            raise ValueError(f"{flag}: neither a flag of this command nor one of Beam.{hint}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.batch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--model", required=True, help="a .tflite file")
    parser.add_argument("--input", required=True, help="file patterns, separated by commas")
    parser.add_argument("--output", required=True, help="folder to write, or to resume")
    parser.add_argument(
        "--input_format", choices=("pictures", "tfrecord", "parquet"), default="pictures"
    )
    parser.add_argument(
        "--output_format", choices=("jsonl", "tfrecord", "parquet"), default="jsonl"
    )
    parser.add_argument("--top", type=int, default=5, help="number of classes to return (5)")
    parser.add_argument(
        "--labels",
        help="file of class names, one per line; by default the model's, or labels.txt beside it",
    )
    parser.add_argument("--embedding", metavar="OUTPUT", help="write this output of the network")
    parser.add_argument("--shards", type=int, default=100, help="number of output files (100)")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of LiteRT in each process (1)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
