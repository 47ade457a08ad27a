"""Formats the report on a TFLite file and its times, as tables and as plain data."""

from __future__ import annotations

import collections
import dataclasses

from converters.reporting.litert_profiler import KernelTime, profile
from converters.reporting.report_graph import TFLiteFile
from converters.reporting.report_times import time_by_op
from converters.verification.verify_compare import LayerDifferences
from converters.verification.verify_report import layer_table, layers_as_json

_RUNS = 50


@dataclasses.dataclass(frozen=True)
class Times:
    """Measured times of a file.

    Attributes:
      whole: milliseconds of one inference.
      threads: number of threads in the measurement.
      kernels: times of all kernels.
      by_op: milliseconds by index of the op; None if kernels cannot be assigned to ops.
    """

    whole: float
    threads: int
    kernels: list[KernelTime]
    by_op: dict[int, float] | None


def measure(file: TFLiteFile, threads: int = 1) -> Times:
    """Measures the times of a file.

    Args:
      file: result of `converters.reporting.report_graph.read_tflite`.
      threads: number of CPU threads.

    Raises:
      ImportError, ValueError: see `converters.reporting.litert_profiler.profile`.
    """
    ends = [[(t.shape, t.type) for t in tensors] for tensors in (file.inputs, file.outputs)]
    kernels, whole = profile(file.path, *ends, threads=threads, runs=_RUNS)
    return Times(whole, threads, kernels, time_by_op(file, kernels))


def as_text(
    file: TFLiteFile, times: Times | None = None, errors: LayerDifferences | None = None
) -> str:
    """Formats the report as tables."""
    taken = sum(op.partition is not None for op in file.ops)
    lines = [f"{file.path}: {file.bytes:,} bytes, {len(file.ops)} ops"]
    for side, tensors in (("input", file.inputs), ("output", file.outputs)):
        for tensor in tensors:
            shape = "x".join(map(str, tensor.shape))
            lines.append(f"{side:7} {tensor.name}  {shape} {tensor.type}")
    partitions = "1 partition" if file.partitions == 1 else f"{file.partitions} partitions"
    lines.append(f"XNNPACK runs {taken} of {len(file.ops)} ops, in {partitions}")
    for branch in file.branches:
        lines.append(
            f"branch {branch.name}: XNNPACK runs {branch.taken} of {branch.ops} ops, in "
            f"{branch.partitions} partition{'' if branch.partitions == 1 else 's'}"
        )
    if times is not None:
        kernels = sum(kernel.milliseconds for kernel in times.kernels)
        threads = "1 thread" if times.threads == 1 else f"{times.threads} threads"
        lines.append(
            f"an inference takes {times.whole:.2f} ms on {threads}, its kernels {kernels:.2f} ms"
        )
    lines += ["", *_op_lines(file), "", *_block_lines(file, times)]
    if times is not None:
        lines += ["", *_kernel_lines(times)]
    if errors is not None:
        lines += ["", *layer_table(errors)]
    return "\n".join(lines)


def _op_lines(file: TFLiteFile) -> list[str]:
    lines = [f"{'op':24} {'count':>7} {'in XNNPACK':>11}  computes"]
    for row in _ops(file):
        types = ", ".join(row["types"])
        lines.append(f"{row['op']:24} {row['count']:7} {row['in_xnnpack']:11}  {types}")
    return lines


def _block_lines(file: TFLiteFile, times: Times | None) -> list[str]:
    with_times = times is not None and times.by_op is not None
    heading = f"{'ms':>9} {'%':>5}  " if with_times else ""
    lines = [f"{'part':28} {heading}{'weights, bytes':>14}"]
    if times is not None and not with_times:
        lines.insert(0, "The kernels are of other partitions than the ops: no times of parts.")
    rows = _blocks(file, times)
    total = sum(row["ms"] for row in rows) if with_times else 0
    for row in rows:
        shown = ""
        if with_times:
            shown = f"{row['ms']:9.3f} {_percent(row['ms'], total):5.1f}  "
        by_size = sorted(row["weights"].items(), key=lambda item: -item[1])
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in by_size)
        lines.append(f"{row['part']:28} {shown}{sum(row['weights'].values()):14,}  {kinds}")
    all_weights = sum(sum(row["weights"].values()) for row in rows)
    space = f"{total:9.3f} {100:5.1f}  " if with_times else ""
    lines.append(f"{'sum':28} {space}{all_weights:14,}")
    return lines


def _kernel_lines(times: Times) -> list[str]:
    rows = _kernels(times)
    total = sum(row["ms"] for row in rows)
    lines = [f"{'kernel':48} {'count':>7} {'ms':>9} {'%':>5}"]
    for row in rows:
        percent = _percent(row["ms"], total)
        lines.append(f"{row['kernel']:48} {row['count']:7} {row['ms']:9.3f} {percent:5.1f}")
    return lines


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else 0.0


def as_json(
    file: TFLiteFile, times: Times | None = None, errors: LayerDifferences | None = None
) -> dict:
    """Returns the report as plain data."""
    content = {
        "file": file.path,
        "bytes": file.bytes,
        "inputs": [dataclasses.asdict(tensor) for tensor in file.inputs],
        "outputs": [dataclasses.asdict(tensor) for tensor in file.outputs],
        "xnnpack_partitions": file.partitions,
        "ops": _ops(file),
        "parts": _blocks(file, times),
        "branches": [dataclasses.asdict(branch) for branch in file.branches],
    }
    if times is not None:
        content["milliseconds"] = times.whole
        content["threads"] = times.threads
        content["kernels"] = _kernels(times)
        content["ops_in_order"] = [
            {"op": op.kind, "part": op.block, "ms": times.by_op and times.by_op.get(n, 0.0)}
            for n, op in enumerate(file.ops)
        ]
    if errors is not None:
        content["layers"] = layers_as_json(errors)
    return content


def _ops(file: TFLiteFile) -> list[dict]:
    """Returns the numbers of ops by kind, most frequent first."""
    return [
        {
            "op": kind,
            "count": count,
            "in_xnnpack": sum(op.partition is not None for op in file.ops if op.kind == kind),
            "types": sorted({t for op in file.ops if op.kind == kind for t in op.types}),
        }
        for kind, count in collections.Counter(op.kind for op in file.ops).most_common()
    ]


def _blocks(file: TFLiteFile, times: Times | None) -> list[dict]:
    """Returns weights, and times if measured, of the parts of the network, in its order."""
    last = {op.block: n for n, op in enumerate(file.ops)}
    rows = []
    for block in sorted(last, key=last.get):
        row = {"part": block or "(no name)", "weights": file.weights.get(block, {})}
        if times is not None and times.by_op is not None:
            members = (n for n, op in enumerate(file.ops) if op.block == block)
            row["ms"] = sum(times.by_op.get(n, 0.0) for n in members)
        rows.append(row)
    return rows


def _kernels(times: Times) -> list[dict]:
    """Returns the total times of kernels by name, longest first."""
    found: dict[str, list[float]] = {}
    for kernel in times.kernels:
        found.setdefault(kernel.name, []).append(kernel.milliseconds)
    rows = [{"kernel": name, "count": len(ms), "ms": sum(ms)} for name, ms in found.items()]
    return sorted(rows, key=lambda row: -row["ms"])
