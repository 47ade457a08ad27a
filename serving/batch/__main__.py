"""Classifies any number of pictures with an Apache Beam pipeline.

    python -m serving.batch --model=levit.tflite --input='pictures/**.jpg' --output=answers
        [--runner=DirectRunner --direct_running_mode=multi_processing --direct_num_workers=2 ...]

The output is a folder of shards, each written completely or not at all; bad/ lists unreadable
pictures with the reasons. To resume after a stop, give the same command again. Flags that are not
listed here belong to Beam and are passed to the runner.
"""

# No absl here: Beam's options use argparse, and workers need nothing but Beam and LiteRT.

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

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

    from levit_lite.class_names import read_labels
    from serving.batch.handler import LiteRTModelHandler, names_of_classes
    from serving.batch.pipeline import NAMESPACE, build
    from serving.batch.settings import (
        SUMMARY_FILE,
        Settings,
        digest_of,
        digest_of_files,
        open_output,
        write_json,
    )

    _check(options, FileSystems)
    labels = None if options.labels is None else tuple(read_labels(options.labels))
    handler = LiteRTModelHandler(options.model, options.threads)
    network = handler.load_model()
    if options.embedding is not None and options.embedding not in network.output_shapes:
        raise ValueError(
            f"--embedding: {options.model} has no output {options.embedding!r}. Found: "
            f"{', '.join(network.output_shapes)}"
        )
    if names_of_classes(network, labels) is None and options.embedding is None:
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
        labels,
    )
    open_output(options.output, settings)
    pipeline = beam.Pipeline(options=PipelineOptions(list(others)))
    build(pipeline, handler, settings, options.output)
    result = pipeline.run()
    result.wait_until_finish()
    counters = {
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
        "--labels", help="file of class names, one per line; by default the model's"
    )
    parser.add_argument("--embedding", metavar="OUTPUT", help="write this output of the network")
    parser.add_argument("--shards", type=int, default=100, help="number of output files (100)")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of LiteRT in each process (1)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
