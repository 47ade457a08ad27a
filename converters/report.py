"""Reports on a TFLite file: its ops, those that XNNPACK runs, sizes, and times.

    python -m converters.report levit256.tflite [--time] [--json]
    python -m converters.report levit256-int8.tflite --against=levit256.keras --images=FOLDER

Ops and partitions are those of LiteRT after it has applied the XNNPACK delegate: a fast network is
a single partition. Every op outside is run by TFLite's own kernels, with a switch before and after
it. Weights are listed by parts of the network, which are recognised by the names of tensors.

`--time` adds the times of kernels, measured on noise by XNNPACK inside its partitions and by LiteRT
outside. They are medians in whole microseconds per kernel, so shorter kernels count as 0. XNNPACK
merges and inserts kernels; `converters.reporting.report_times` assigns them to the ops of the file.
The time of the whole inference is measured without the profiler.

`--against` adds the error of each layer, compared with the same layer in another file of the
network, such as the float model of a quantised file. The pictures are those of a folder, or those
that come with scikit-learn. The errors are the largest difference, the same relative to the largest
value, the mean difference, and the lowest cosine of a picture. `converters.verify` compares any two
files.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from absl import flags

from converters.choices import VERIFIED
from levit_common import cli
from levit_common.files import check_exists
from levit_common.lazy import lazy_names
from levit_common.model_sources import check_source

if TYPE_CHECKING:
    from converters.verification.verify_compare import LayerDifferences

_WORK = "converters.reporting.report_text"
__getattr__ = lazy_names(__name__, as_json=_WORK, as_text=_WORK, measure=_WORK)


def main(file: str) -> None:
    from converters.reporting.report_graph import read_tflite
    from converters.reporting.report_text import as_json, as_text, measure

    args = flags.FLAGS
    content = read_tflite(file)
    times = measure(content, args.threads) if args.time else None
    errors = _layer_errors(args.against, file) if args.against else None
    if args.json:
        print(json.dumps(as_json(content, times, errors), indent=2))
    else:
        print(as_text(content, times, errors))


def _layer_errors(reference: str, file: str) -> LayerDifferences:
    from converters.verification.artefact_files import open_artefact
    from converters.verification.verify_compare import (
        common_shape,
        compare_layers,
        compare_outputs,
    )
    from converters.verification.verify_pictures import comparison_pictures

    args = flags.FLAGS
    expected, found = (
        open_artefact(path, None, None, args.input_range, args.trust) for path in (reference, file)
    )
    images = comparison_pictures(args.images, common_shape(expected, found), args.limit)
    return compare_layers(expected, found, images, compare_outputs(expected, found, images))


def define_flags() -> None:
    flags.DEFINE_bool("time", False, "Measure the times of the kernels.")
    flags.DEFINE_integer("threads", 1, "Number of CPU threads for --time.")
    flags.DEFINE_bool("json", False, "Print JSON instead of tables.")
    flags.DEFINE_string(
        "against", None, f"File to compare with, to show the error of each layer: {VERIFIED}."
    )
    flags.DEFINE_string("images", None, "Folder of pictures for --against; embedded by default.")
    flags.DEFINE_integer("limit", 64, "Largest number of pictures, evenly chosen from the folder.")
    cli.define_input_range()
    cli.define_trust()


def check(file: str) -> None:
    if flags.FLAGS.threads < 1:
        raise ValueError(f"--threads: expected at least 1. Received: {flags.FLAGS.threads}")
    if flags.FLAGS.limit < 1:
        raise ValueError(f"--limit: expected at least 1. Received: {flags.FLAGS.limit}")
    if flags.FLAGS.images and not flags.FLAGS.against:
        raise ValueError("--images: pictures are for --against, which names no file.")
    check_exists(file, "a .tflite file")
    if flags.FLAGS.against:
        check_source(flags.FLAGS.against, VERIFIED)


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
