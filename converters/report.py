"""Says what is in a TFLite file: its ops, what XNNPACK takes of them, sizes, and times.

    python -m converters.report levit256.tflite [--time] [--json]

Ops and partitions are those that LiteRT has after the XNNPACK delegate was applied: a network that
runs fast is one partition, and every op outside is a kernel of TFLite's own, with a change of hands
before and after. Weights are listed by the parts of the network, told by the names of tensors.

`--time` adds the times of kernels as XNNPACK itself measures them inside its partitions, and LiteRT
outside, of noise for a picture: medians, in whole microseconds for each kernel, so that those of
less than one count as none. XNNPACK merges and inserts kernels; `converters.reporting.report_times`
lays them beside the ops of the file. The time of the whole inference is measured without the
profiler.
"""

from __future__ import annotations

import json

from absl import flags

from levit_common import cli
from levit_common.files import check_exists
from levit_common.lazy import lazy_names

_WORK = "converters.reporting.report_text"
__getattr__ = lazy_names(__name__, as_json=_WORK, as_text=_WORK, measure=_WORK)


def main(file: str) -> None:
    from converters.reporting.report_graph import read_tflite
    from converters.reporting.report_text import as_json, as_text, measure

    args = flags.FLAGS
    content = read_tflite(file)
    times = measure(content, args.threads) if args.time else None
    print(json.dumps(as_json(content, times), indent=2) if args.json else as_text(content, times))


def define_flags() -> None:
    flags.DEFINE_bool("time", False, "Measure its kernels.")
    flags.DEFINE_integer("threads", 1, "CPU threads to time it on.")
    flags.DEFINE_bool("json", False, "Print JSON instead of tables.")


def check(file: str) -> None:
    if flags.FLAGS.threads < 1:
        raise ValueError(f"--threads: expected at least 1. Received: {flags.FLAGS.threads}")
    check_exists(file, "a .tflite file")


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
