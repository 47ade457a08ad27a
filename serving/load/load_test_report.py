"""Reports percentiles, throughput and errors of a load test, as text, JSON and a plot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from levit_common.figures import make_figure, save_figure
from levit_common.json_files import write_json
from serving.load.load_test_generator import OK, Load, Samples

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
REPORT_FILE = "report.json"
PICTURE_FILE = "latencies.png"
# A generator that sends later than this, or than this share of the median latency, is too slow for
# its schedule. Timers are accurate to about a millisecond.
_LATE_S = 5e-3
_LATE_SHARE = 0.2


@dataclass(frozen=True)
class Report:
    """The figures of a load test, over the requests scheduled during the measurement.

    Attributes:
      requests: number of requests.
      answered: number of successful requests.
      errors: from the status of failed requests to their number.
      messages: from status to the first message with it.
      throughput: successful responses per second.
      offered: scheduled requests per second; in a closed loop, sent requests.
      latency_ms: "p50" and so on, "mean" and "max" latency of successful requests, from the
        scheduled time rather than the time of sending.
      late_ms: the same figures for the delay between these two times.
      kept_up: whether the generator kept to its schedule.
      cpu_ms: processor time of the generator per request, milliseconds.
      latencies_ms: every single latency.
      exits: for a dynamic classifier, from the index of an exit to the number of pictures that used
        it.
    """

    requests: int
    answered: int
    errors: Mapping[str, int]
    messages: Mapping[str, str]
    throughput: float
    offered: float
    latency_ms: Mapping[str, float]
    late_ms: Mapping[str, float]
    kept_up: bool
    cpu_ms: float
    latencies_ms: np.ndarray = field(repr=False)
    exits: Mapping[int, int] = field(default_factory=dict)


def make_report(load: Load, samples: Samples) -> Report:
    """Computes the figures of the samples.

    Raises:
      ValueError: no request was scheduled during the measurement.
    """
    end = load.warmup_s + load.duration_s
    counted = (samples.intended >= load.warmup_s) & (samples.intended < end)
    if not counted.any():
        raise ValueError(
            f"no request fell into the {load.duration_s:g} s that were measured; a longer duration "
            "or a higher rate is needed"
        )
    answered = counted & (samples.codes == OK)
    in_time = (samples.codes == OK) & (samples.done >= load.warmup_s) & (samples.done < end)
    latencies = 1e3 * (samples.done - samples.intended)[answered]
    late = 1e3 * (samples.sent - samples.intended)[counted]
    latency_ms, late_ms = _summary(latencies), _summary(late)
    allowed = max(1e3 * _LATE_S, _LATE_SHARE * latency_ms.get("p50", 0.0))
    codes, counts = np.unique(samples.codes[counted & ~answered], return_counts=True)
    return Report(
        requests=int(counted.sum()),
        answered=len(latencies),
        errors=dict(zip(codes.tolist(), counts.tolist(), strict=True)),
        messages=samples.messages,
        throughput=float(in_time.sum() / load.duration_s),
        offered=float(counted.sum() / load.duration_s),
        latency_ms=latency_ms,
        late_ms=late_ms,
        kept_up=late_ms["p99"] <= allowed,
        cpu_ms=1e3 * samples.cpu_s / len(samples.intended),
        latencies_ms=latencies,
        exits=dict(sorted(samples.exits.items())),
    )


def _summary(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {}
    # Percentiles are measured values, not interpolated between two of them.
    found = np.percentile(values, PERCENTILES, method="inverted_cdf")
    summary = {f"p{p:g}": float(value) for p, value in zip(PERCENTILES, found, strict=True)}
    return summary | {"mean": float(values.mean()), "max": float(values.max())}


def to_text(report: Report) -> str:
    """Formats the report as text, with a warning if the generator was too slow."""
    lines = [
        f"requests    {report.requests:,}, {report.offered:.1f} a second",
        f"answered    {report.answered:,}, {report.throughput:.1f} a second",
    ]
    if report.latency_ms:
        lines.append(f"latency     {_row(report.latency_ms)} ms")
    lines.append(f"sent late   {_row(report.late_ms)} ms")
    lines.append(f"generator   {report.cpu_ms:.2f} ms of processor time a request")
    total = sum(report.exits.values())
    for step, count in report.exits.items():
        lines.append(f"exit {step}      {count:,} pictures, {100 * count / total:.1f} %")
    for code, count in report.errors.items():
        lines.append(f"error       {count:,} x {code}: {report.messages[code]}")
    if report.errors:
        failed = report.requests - report.answered
        lines.append(f"warning: {failed:,} of {report.requests:,} requests failed")
    if not report.kept_up:
        lines.append(
            "warning: the generator sent late, and the latencies count it in; use more --processes,"
            " another machine, or a lower --rate"
        )
    return "\n".join(lines)


def _row(summary: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in summary.items())


def write_report(report: Report, settings: Mapping[str, object], folder: Path) -> None:
    """Writes `REPORT_FILE` and `PICTURE_FILE` to a folder, which is created if needed.

    Args:
      report: the report.
      settings: settings of the test, stored in the file.
      folder: the folder to write to.

    Raises:
      ImportError: Matplotlib is not installed.
    """
    numbers = asdict(report)
    del numbers["latencies_ms"]
    write_json(folder / REPORT_FILE, {"settings": dict(settings), "report": numbers})
    draw_latencies(report, folder / PICTURE_FILE)


def draw_latencies(report: Report, path: Path) -> None:
    """Draws a histogram of the latencies as a PNG file, with the percentiles marked.

    Raises:
      ImportError: Matplotlib is not installed.
    """
    figure = make_figure(8, 4.5)
    axes = figure.add_subplot()
    values = report.latencies_ms
    if len(values):
        low, high = values.min(), max(values.max(), 1.01 * values.min())
        axes.hist(values, bins=np.geomspace(max(low, 1e-3), high, 80), color="#4477aa")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        for percentile in PERCENTILES:
            name = f"p{percentile:g}"
            value = report.latency_ms[name]
            axes.axvline(value, color="#bb5566", linewidth=1)
            axes.annotate(
                f"{name}\n{value:.1f}",
                (value, 1),
                xycoords=("data", "axes fraction"),
                xytext=(2, -2),
                textcoords="offset points",
                va="top",
                fontsize=8,
            )
    axes.set_xlabel("latency from the intended time, ms")
    axes.set_ylabel("requests")
    failed = sum(report.errors.values())
    axes.set_title(
        f"{report.answered:,} answers, {report.throughput:.1f} a second; {failed:,} errors"
    )
    save_figure(figure, path)
