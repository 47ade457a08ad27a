"""Evaluates a dynamic file: how often each exit is used, its accuracy, calibration and speed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from converters.dynamic.paths import forcing
from converters.dynamic.running import DynamicFile
from converters.speed.turns import in_turns
from levit_common.figures import make_figure, save_figure
from levit_common.json_files import write_json
from levit_common.markdown import markdown_table
from levit_lite.prediction.predictor import Predictor
from levit_tf.dynamic.calibration import (
    NEVER,
    SEQUENCE,
    answers,
    leaving_step,
)
from levit_tf.dynamic.confidence import expected_calibration_error
from training.data import Dataset
from training.evaluation.accuracy import class_of_output

FILE, PICTURE = "dynamic_evaluation.json", "dynamic.png"
_BATCH = 32
_UNTIMED = 2  # calls before the first that is timed, which sets things up
_TURNS = 50


@dataclasses.dataclass(frozen=True)
class Exit:
    """The results of one step of a dynamic file.

    Attributes:
      share: share of the pictures that leave at this exit, 0..1.
      top1: top-1 over those pictures, 0..1; None if there are none.
      top1_of_all: top-1 over all pictures, as if all left here.
      calibration_error: expected calibration error of its probabilities over all pictures.
      milliseconds: median time for a picture that leaves here, with one thread.
    """

    share: float
    top1: float | None
    top1_of_all: float
    calibration_error: float
    milliseconds: float


@dataclasses.dataclass(frozen=True)
class DynamicReport:
    """The results of an evaluation.

    Attributes:
      top1: top-1 of the file with its own thresholds, 0..1.
      pictures: number of pictures.
      mean_ms: mean time per picture, one at a time; `p50_ms` and `p99_ms` are its percentiles.
      exits: the exits in the order of the steps.
      curve: (mean milliseconds, top-1) for each threshold, starting with the one that never exits.
      beside: from name to (median milliseconds, top-1) of single networks on the same pictures.
    """

    top1: float
    pictures: int
    mean_ms: float
    p50_ms: float
    p99_ms: float
    exits: tuple[Exit, ...]
    curve: tuple[tuple[float, float], ...]
    beside: dict[str, tuple[float, float]]

    def __str__(self) -> str:
        rows = [
            (
                str(number),
                f"{100 * one.share:.1f}",
                "-" if one.top1 is None else f"{100 * one.top1:.2f}",
                f"{100 * one.top1_of_all:.2f}",
                f"{100 * one.calibration_error:.2f}",
                f"{one.milliseconds:.2f}",
            )
            for number, one in enumerate(self.exits)
        ]
        header = (
            *("exit", "answers, %", "top-1 of these, %", "top-1 of all, %"),
            *("calibration error, %", "ms"),
        )
        table = markdown_table([header, *rows], right=range(1, len(header)))
        text = (
            f"{table}\n\ntop-1 {100 * self.top1:.2f} % of {self.pictures:,} pictures; one at a "
            f"time, one thread: mean {self.mean_ms:.2f} ms, p50 {self.p50_ms:.2f}, p99 "
            f"{self.p99_ms:.2f}"
        )
        if self.beside:
            rows = [("network", "top-1, %", "ms")]
            rows += [
                (name, f"{100 * top1:.2f}", f"{ms:.2f}") for name, (ms, top1) in self.beside.items()
            ]
            text += f"\n\n{markdown_table(rows, right=(1, 2))}"
        return text


def evaluate_dynamic(
    file: DynamicFile,
    predictor: Predictor,
    data: Dataset,
    *,
    beside: Sequence[tuple[str, Predictor]] = (),
    limit: int | None = None,
    by_order: bool = False,
) -> DynamicReport:
    """Classifies held-out pictures through every path of a dynamic file.

    Args:
      file: the dynamic file.
      predictor: a predictor of the same file, for its classes.
      data: the data set, with its input size.
      beside: names and predictors of single networks, each measured on the same pictures.
      limit: largest number of pictures, evenly spread.
      by_order: see `training.evaluation.accuracy.class_of_output`.

    Raises:
      ValueError: the classes do not match, or there are no pictures.
    """
    class_of = class_of_output(predictor, data, by_order)
    # Before the long part: networks of other classes are refused.
    of_beside = [class_of_output(one, data, by_order) for _, one in beside]
    rows: list[list[np.ndarray]] = [[] for _ in range(file.steps)]
    sure: list[list[np.ndarray]] = [[] for _ in range(file.steps)]
    labels, own, found_exits, times = [], [], [], []
    first = None
    _warm_up(file.plain, file.input_size)
    dataset = data.test_dataset(batch=_BATCH, normalize=False, limit=limit)
    for images, of_batch in dataset.as_numpy_iterator():
        first = images if first is None else first
        labels.append(of_batch)
        for image in images:
            one = np.float32(image)[None]
            start = time.perf_counter()
            probabilities, exits = file.plain(one)
            times.append(1000 * (time.perf_counter() - start))
            own.append(probabilities.argmax())
            found_exits.append(int(np.reshape(exits, -1)[0]))
            for step in range(file.steps):
                answer = file.answer(one, forcing(step, file.steps))
                rows[step].append(answer.logits.copy())
                sure[step].append(answer.probabilities.copy())
    if not labels:
        raise ValueError(f"dataset {data.name}: no labelled picture that can be read.")
    truth = np.concatenate(labels)
    if truth.ndim != 1:
        raise ValueError(f"dataset {data.name}: pictures of several classes; expected one each.")
    steps = [np.concatenate(one) for one in rows]
    calibrated = [np.log(np.maximum(np.concatenate(one), 1e-30)) for one in sure]
    output_of = np.argsort(class_of, kind="stable")[: len(data.class_names)]
    wanted = output_of[truth]
    left, right = np.array(found_exits), np.array(own) == wanted
    singles = {
        name: _single(one, data, limit, of_one)
        for (name, one), of_one in zip(beside, of_beside, strict=True)
    }
    # Paths and single networks take turns: in a pass over the pictures, caches would be cold.
    calls: dict[Hashable, Callable] = {
        **file.calls_of_paths(np.float32(first[:1])),
        **{name: single.call for name, single in singles.items()},
    }
    ms = {name: found.ms for name, found in in_turns(calls, _TURNS).items()}
    of_paths = [ms[step] for step in range(file.steps)]
    exits = []
    for number, logits in enumerate(steps):
        mine = left == number
        exits.append(
            Exit(
                float(mine.mean()),
                float(right[mine].mean()) if mine.any() else None,
                float(np.mean(logits.argmax(axis=1) == wanted)),
                expected_calibration_error(calibrated[number], wanted),
                of_paths[number],
            )
        )
    return DynamicReport(
        float(right.mean()),
        len(truth),
        float(np.mean(times)),
        float(np.percentile(times, 50)),
        float(np.percentile(times, 99)),
        tuple(exits),
        tuple(_curve(calibrated, wanted, of_paths)),
        {name: (ms[name], single.top1) for name, single in singles.items()},
    )


def write_dynamic_report(folder: Path, report: DynamicReport, summary: dict[str, Any]) -> None:
    """Writes the figures as JSON, and a plot of accuracy over mean time.

    Args:
      folder: folder to write to; it is created. Existing files are replaced.
      report: the results.
      summary: further facts for the JSON.
    """
    write_json(folder / FILE, {**summary, **dataclasses.asdict(report)})
    figure = make_figure(7, 5)
    axes = figure.add_subplot()
    axes.plot(*np.array(report.curve).T * [[1], [100]], label="dynamic, by threshold")
    mean_ms = sum(one.share * one.milliseconds for one in report.exits)
    axes.plot(mean_ms, 100 * report.top1, "o", label="dynamic, as calibrated")
    for name, (ms, top1) in report.beside.items():
        axes.plot(ms, 100 * top1, "s", label=name)
    axes.set(xlabel="mean ms of a picture, one at a time", ylabel="top-1, %")
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, folder / PICTURE)


def _curve(calibrated: Sequence[np.ndarray], labels: np.ndarray, times: Sequence[float]):
    """Yields (mean time, top-1) for each threshold; the softmax of the logits is the confidence."""
    ones = [1.0] * (len(calibrated) - 1)
    for threshold in (NEVER, *SEQUENCE):
        steps = leaving_step(calibrated, ones, [threshold] * len(ones))
        top1 = np.mean(answers(calibrated, steps).argmax(axis=1) == labels)
        yield float(np.mean(np.array(times)[steps])), float(top1)


def _warm_up(call: Callable[[np.ndarray], Any], size: tuple[int, int]) -> None:
    for _ in range(_UNTIMED):
        call(np.zeros((1, *size, 3), np.float32))


class _Single(NamedTuple):
    """A single network: its top-1, and a call of it with one picture."""

    top1: float
    call: Callable


def _single(
    predictor: Predictor, data: Dataset, limit: int | None, class_of: np.ndarray
) -> _Single:
    """Classifies all pictures with a single network."""
    data, right, last = data.with_input_size(predictor.input_size), [], None
    for images, labels in data.test_dataset(
        batch=_BATCH, normalize=False, limit=limit
    ).as_numpy_iterator():
        for image, label in zip(images, labels, strict=True):
            last = image[None]
            right.append(class_of[predictor.predict(last).argmax()] == label)
    return _Single(float(np.mean(right)), partial(predictor.predict, last))
