"""Compares any two files of a network on real pictures, and says where they part.

    python -m converters.verify levit256.keras levit256.tflite --images=FOLDER --layers

Each is a `.keras` file, a SavedModel, a `.tflite`, an `.onnx`, or a PyTorch checkpoint of any
codebase that `converters.from_pytorch` knows, which needs no PyTorch if it is of safetensors. The
first is what is expected. Without `--images` they see pictures that come with scikit-learn: digits
where the network takes 32x32 pixels, parts of two photographs otherwise.

`--layers` compares what the stem's convolutions, each attention, each MLP and the sums after them
return, found by their names in either file, and names the first that differs; `--picture=FILE.png`
draws it.

The exit code is 0 if the logits differ by at most the tolerance, 1 if by more, and 2 if the files
cannot be compared. A difference is the largest one over the largest logit expected; the default
tolerance is that of the coarser of the two files, see `converters.verification.verify_artefact`. Of
a file that keeps no logits it is the probabilities that are compared.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from converters import cli
from converters.verification.verify_artefact import Artefact
from converters.verification.verify_compare import (
    Difference,
    LayerDifferences,
    OutputDifferences,
    check_comparable,
    compare_layers,
    compare_outputs,
)
from converters.verification.verify_figure import draw_layers
from converters.verification.verify_pictures import MAXIMUM, comparison_pictures
from levit_common.json_files import write_json
from levit_tf.opening.files import TRUST_HELP
from levit_tf.preprocessing import INPUT_RANGES
from levit_tf.weights.keras_files import model_path

CHECKPOINT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
KINDS = (
    "a .keras file, a SavedModel directory, a .tflite file, an .onnx file, or a PyTorch checkpoint "
    f"({', '.join(CHECKPOINT_SUFFIXES)})"
)


def open_artefact(
    path: str | os.PathLike,
    checkpoint_size: tuple[int, int] | None = None,
    checkpoint_key: str | None = None,
    input_range: str | None = None,
    trust: bool = False,
) -> Artefact:
    """Opens a file by its kind.

    Args:
      path: one of `KINDS`.
      checkpoint_size: (height, width) of the pictures that a PyTorch checkpoint was trained on,
        where that is not square.
      checkpoint_key: which network of a PyTorch checkpoint with several.
      input_range: what a `.keras` model takes, where its graph does not say it: a name of
        `levit_tf.preprocessing.INPUT_RANGES`.
      trust: whether a SavedModel may have operations that reach beyond it.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is damaged, or none of `KINDS`.
      ImportError: the package that reads this kind is not installed.
    """
    # In here, so that a kind of file needs its own packages only.
    from converters.verification import verify_graphs, verify_keras

    path = Path(model_path(path))
    suffix = path.suffix.lower()
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file. Expected {KINDS}.")
    if path.is_dir():
        return verify_graphs.saved_model_artefact(path, trust)
    if suffix in CHECKPOINT_SUFFIXES:
        return verify_keras.checkpoint_artefact(path, checkpoint_size, checkpoint_key)
    if suffix == ".keras":
        return verify_keras.keras_artefact(path, input_range)
    readers = {
        ".tflite": verify_graphs.tflite_artefact,
        ".onnx": verify_graphs.onnx_artefact,
    }
    if suffix not in readers:
        raise ValueError(f"{path}: unknown kind of file. Expected {KINDS}.")
    return readers[suffix](path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
      arguments: what stands after the program's name; `sys.argv`'s by default.

    Returns:
      The exit status: 0, 1 or 2, see above.

    Raises:
      SystemExit: the arguments make no sense (status 2), or ask for help.
    """
    options = _parser().parse_args(arguments)
    try:
        return _verify(options)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _verify(options: argparse.Namespace) -> int:
    if options.limit < 1:
        raise ValueError(f"--limit: expected at least 1. Received: {options.limit}")
    size = options.checkpoint_size and cli.parse_size(options.checkpoint_size)
    a, b = (
        open_artefact(path, size, options.checkpoint_key, options.input_range, options.trust)
        for path in (options.a, options.b)
    )
    check_comparable(a, b)
    images = comparison_pictures(options.images, a.network.input_shape[1:], options.limit)
    tolerance = options.tolerance
    if tolerance is None:
        tolerance = max(a.precision.tolerance, b.precision.tolerance)
    outputs = compare_outputs(a, b, images)
    wanted = options.layers or options.picture
    layers = compare_layers(a, b, images, outputs) if wanted else None
    if options.picture:
        title = f"{Path(b.source).name} against {Path(a.source).name}"
        draw_layers(layers, title, Path(options.picture))
    print(_report(a, b, outputs, layers, tolerance))
    if options.json:
        write_json(options.json, _as_json(a, b, outputs, layers, tolerance))
    return 0 if outputs.within(tolerance) else 1


def _report(
    a: Artefact,
    b: Artefact,
    outputs: OutputDifferences,
    layers: LayerDifferences | None,
    tolerance: float,
) -> str:
    height, width = a.network.input_shape[1:3]
    count = outputs.pictures
    same = []
    if outputs.same_top1 is not None:
        share = 100 * outputs.same_top1 / count
        same = [f"same top-1: {outputs.same_top1} of {count} ({share:.1f} %)"]
    classes = f", {a.network.classes} classes" if a.network.classes else ""
    lines = [
        *(f"{x}  {y.source}: {y.kind}, {y.precision.name}" for x, y in (("A", a), ("B", b))),
        f"{count} pictures of {height}x{width}{classes}",
        "",
        f"{'':30} {'largest':>9} {'relative':>9} {'mean':>9} {'cosine':>11}",
        *(_row(name, difference) for name, difference in outputs.outputs.items()),
        *same,
    ]
    if layers is not None:
        lines += ["", *_layer_lines(layers, tolerance)]
    word = "within" if outputs.within(tolerance) else "NOT within"
    relative = outputs.outputs[outputs.deciding].relative
    lines += ["", f"{outputs.deciding}: {relative:.1e}, {word} the tolerance of {tolerance:.1e}"]
    return "\n".join(lines)


def _row(name: str, difference: Difference | None) -> str:
    if difference is None:
        return f"{name:30} shapes differ"
    return (
        f"{name:30} {difference.maximum:9.1e} {difference.relative:9.1e} {difference.mean:9.1e} "
        f"{difference.cosine:11.8f}"
    )


def _layer_lines(layers: LayerDifferences, tolerance: float) -> list[str]:
    lines = [_row(name, difference) for name, difference in layers.layers.items()]
    for side, names in (("A", layers.only_a), ("B", layers.only_b)):
        if names:
            lines.append(f"only in {side}, not compared: {', '.join(names)}")
    if not layers.layers:
        return [*lines, "No layer has the same name in both files: they cannot be compared so."]
    first = layers.first_beyond(tolerance)
    if first is None:
        return [*lines, f"No layer differs by more than {tolerance:.1e}."]
    return [*lines, f"First layer that differs by more than {tolerance:.1e}: {first}"]


def _as_json(
    a: Artefact,
    b: Artefact,
    outputs: OutputDifferences,
    layers: LayerDifferences | None,
    tolerance: float,
) -> dict:
    content = {
        **{
            key: {"source": x.source, "kind": x.kind, "precision": x.precision.name}
            for key, x in (("a", a), ("b", b))
        },
        "pictures": outputs.pictures,
        "same_top1": outputs.same_top1,
        "outputs": {name: vars(difference) for name, difference in outputs.outputs.items()},
        "tolerance": tolerance,
        "within_tolerance": outputs.within(tolerance),
    }
    if layers is not None:
        content["layers"] = {
            name: difference and vars(difference) for name, difference in layers.layers.items()
        }
        content["first_layer_beyond_tolerance"] = layers.first_beyond(tolerance)
        content["layers_only_in_a"] = layers.only_a
        content["layers_only_in_b"] = layers.only_b
    return content


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m converters.verify",
        description="Compares two files of a network on real pictures.",
        epilog="Exit code: 0 within the tolerance, 1 beyond it, 2 not comparable.",
    )
    parser.add_argument("a", metavar="A", help=f"what is expected: {KINDS}")
    parser.add_argument("b", metavar="B", help="what is compared with it: any of these, too")
    parser.add_argument("--images", metavar="FOLDER", help="pictures (default: embedded ones)")
    parser.add_argument(
        "--limit",
        type=int,
        default=MAXIMUM,
        help="pictures of the folder, spread over it, at most (default: %(default)s)",
    )
    parser.add_argument(
        "--input_range",
        choices=tuple(INPUT_RANGES),
        help="what a .keras model takes, where the file does not say it",
    )
    parser.add_argument("--trust", action="store_true", help=TRUST_HELP)
    parser.add_argument("--layers", action="store_true", help="compare layer by layer, too")
    parser.add_argument(
        "--tolerance",
        type=float,
        help="largest difference over the largest logit (default: by the files' precision)",
    )
    parser.add_argument("--picture", metavar="FILE", help="draw the layers, as a PNG file")
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    parser.add_argument(
        "--checkpoint_size",
        metavar="HxW",
        help="pictures that a PyTorch checkpoint was trained on, where those are not square",
    )
    parser.add_argument(
        "--checkpoint_key",
        metavar="NAME",
        help="network of a PyTorch checkpoint with several, such as model_ema",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
