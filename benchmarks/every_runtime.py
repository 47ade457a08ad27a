"""Our artefact against the best other LeViT in the same runtime, for every runtime.

    python -m benchmarks.every_runtime --variants=LeViT256,LeViT128S --batches=1 --threads=1

Others are what their authors' code gives through the runtime's own tools: keras_cv_attention_models
and zeromodels through TensorFlow's converter and quantiser (static int8 and int8 weights only: the
quicker one counts) and as a SavedModel with frozen weights,
timm's `levit` and `levit_conv` through PyTorch's exporter, ONNX Runtime's static quantisation
(convolutions and products with constants, per channel) and OpenVINO's NNCF. Ours are
`converters.to_tflite`, `to_saved_model` and `to_onnx`, whose files OpenVINO runs too, and normalise
pictures themselves; what NNCF makes of our network counts as another. ONNX files of others are for
one picture, or for any number if `--batches` has more, as ours always are. PyTorch, where there is
none of ours, is in `benchmarks.cpu_inference`. Random weights, on which time does not depend; each
contender in a process of its own, pinned, in turns; medians.

A peer that is not installed is left out, and that is said. Needs the [bench] extra, and zeromodels.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import tempfile
from pathlib import Path

from absl import flags

from benchmarks.networks import ours, peers, published, timm_networks
from benchmarks.networks.forms import (
    FORMS,
    ONNX,
    OUR_FILES,
    PEERS_TOO,
    TFLITE,
    open_form,
    random_pictures,
)
from benchmarks.support import contenders, options, results
from converters.speed.turns import serve_turns
from levit_common import cli
from levit_tf.variants import get_variant

OURS = "levit_tf"
KECAM, ZEROMODELS = "keras_cv_attention_models", "zeromodels"
TIMM = {"timm": "levit", "timm, conv": "levit_conv"}
SIZE = 224


@dataclasses.dataclass(frozen=True)
class Entry:
    """One contender: whose LeViT in which form."""

    form: str
    who: str
    file: str

    @property
    def name(self) -> str:
        """The codebase, and the file if it is not its own of the form."""
        is_own = self.file == _file_of(self.form, self.who)
        return self.who if is_own else f"{self.who}, {self.file}"


def _file_of(form: str, who: str) -> str:
    return OUR_FILES.get(form, FORMS[form]) if who == OURS else FORMS[form]


def codebases_of(form: str) -> list[str]:
    """Whose LeViT there is in a form, ours first."""
    return [OURS, *(TIMM if form in ONNX else (KECAM, ZEROMODELS))]


def entries(forms: list[str]) -> list[Entry]:
    """Returns the contenders of these forms, ours first in each."""
    found = []
    for form in forms:
        present = [who for who in codebases_of(form) if not missing(who, form)]
        found += [Entry(form, who, _file_of(form, who)) for who in present]
        if form in PEERS_TOO:
            found += [Entry(form, who, PEERS_TOO[form]) for who in present if who != OURS]
        if form in OUR_FILES and all(map(importlib.util.find_spec, ("openvino", "nncf"))):
            found.append(Entry(form, OURS, FORMS[form]))
    return found


def missing(who: str, form: str) -> list[str]:
    """Packages that a contender needs and that are not installed."""
    needed = ["timm"] if who in TIMM else [who] if who != OURS else []
    if form.startswith("OpenVINO"):
        needed += ["openvino"] + ["nncf"] * (form.endswith("int8") and who != OURS)
    return [package for package in needed if importlib.util.find_spec(package) is None]


def write_files(variant: str, who: str, forms: list[str], folder: Path, batch: int | None) -> None:
    """The files of one codebase: TFLite's for one picture, ONNX files of others for `batch`."""
    files = [entry.file for entry in entries(forms) if entry.who == who]
    if who == OURS:
        ours.write_files(ours.levit(variant), folder, files)
    elif who in TIMM:
        name = f"{TIMM[who]}_{variant.removeprefix('LeViT').lower()}"
        timm_networks.write_files(name, SIZE, folder, files, batch)
    elif who == KECAM:
        model = peers.kecam_levit(variant, classifier_activation=None)
        published.write_files(model, folder, files)
    else:
        published.write_files(peers.zeromodels_levit(variant), folder, files)


def measure(
    variant: str, batch: int, threads: int, chosen: list[Entry], folder: Path
) -> dict[Entry, float]:
    """Milliseconds of a picture; those of `TFLITE` take one at a time."""
    times = {}
    for form in dict.fromkeys(entry.form for entry in chosen):
        if batch > 1 and form in TFLITE:
            continue
        running = {}
        for entry in (one for one in chosen if one.form == form):
            running[entry] = contenders.start(
                threads,
                entry.who == KECAM,
                worker=entry.who,
                file=entry.file,
                forms=form,
                batches=batch,
                threads=threads,
                folder=folder / entry.who,
            )
        found = contenders.race(running)
        times |= {entry: one.ms / batch for entry, one in found.items()}
    return times


def rows_of(variant: str, batch: int, threads: int, times: dict[Entry, float]) -> list[tuple]:
    """Ours beside the best other one, for each form."""
    rows = []
    for form in dict.fromkeys(entry.form for entry in times):
        own = Entry(form, OURS, _file_of(form, OURS))
        own_ms = times[own]
        others = {e.name: ms for e, ms in times.items() if e.form == form and e != own}
        best = min(others, key=others.get, default=None)
        ms = others.get(best)
        rows.append((variant, batch, threads, form, own_ms, best, ms, ms and own_ms / ms))
    return rows


COLUMNS = ("variant", "batch", "threads", "runtime", "ours, ms", "best other", "ms", "ours is")


def main() -> None:
    args = flags.FLAGS
    if args.worker:
        (batch,), (threads,), (form,) = args.batches, args.threads, args.forms
        images = random_pictures(int(batch), SIZE, channels_first=args.worker in TIMM)
        serve_turns(open_form(form, Path(args.folder), images, int(threads), args.file))
        return
    if args.write:
        (variant,) = args.variants
        batch = 1 if set(args.batches) == {"1"} else None
        write_files(variant, args.write, args.forms, Path(args.folder), batch)
        return
    chosen = entries(args.forms)
    codebases = list(dict.fromkeys(entry.who for entry in chosen))
    for form in args.forms:
        lacking = {name for who in codebases_of(form) for name in missing(who, form)}
        if lacking:
            print(f"{form}: without {', '.join(sorted(lacking))}: not installed", file=sys.stderr)
    rows = {int(batch): [] for batch in args.batches}
    for variant in args.variants:
        name = get_variant(variant).name
        with tempfile.TemporaryDirectory() as folder:
            settings = {"variants": name, "forms": ",".join(args.forms)}
            settings["batches"] = ",".join(args.batches)
            contenders.write_each(codebases, Path(folder), [KECAM], **settings)
            for batch, of_batch in rows.items():
                for threads in map(int, args.threads):
                    times = measure(name, batch, threads, chosen, Path(folder))
                    of_batch += rows_of(name, batch, threads, times)
                    # What was measured is there, however the rest ends.
                    results.write(_table(batch), COLUMNS, of_batch, args.output)
    for batch, of_batch in rows.items():
        results.publish(_table(batch), COLUMNS, of_batch, args.output)


def _table(batch: int) -> str:
    return f"every_runtime_batch_{batch}"


def define_flags() -> None:
    options.define_grid(ours.VARIANTS, "; TFLite takes one")
    options.define_some_of("forms", list(FORMS))
    options.define_race(turns=5)
    options.define_internal("write", "file")


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
