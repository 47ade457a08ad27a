"""Classifies pictures on the command line.

    python -m levit_tf.classify --model=FILE_OR_VARIANT [--top=5] [--labels=FILE] PICTURE...

A PICTURE is a file, or a folder of them. Prints the name of each picture and below it the likeliest
classes with their probabilities. A picture that cannot be read is reported on stderr, and the
others are classified all the same.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from levit_common.picture_files import printable
from levit_tf.class_names import top_classes
from levit_tf.opening.files import TRUST_HELP
from levit_tf.pictures.images import ImageError, load_images
from levit_tf.pictures.picture_folders import pictures_in, skipped_text
from levit_tf.prediction.predictor import BATCH_SIZE, Predictor, load_predictor
from levit_tf.preprocessing import INPUT_RANGES


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
      arguments: what stands after the program's name; `sys.argv`'s by default.

    Returns:
      The exit status: 0; or 1 if the model or any picture could not be read.

    Raises:
      SystemExit: the arguments make no sense (status 2), or ask for help.
    """
    options = _parser().parse_args(arguments)
    # Heeded by a TensorFlow that is imported only now: for a SavedModel on another Keras backend.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        pictures = _files(options.pictures)
        predictor = load_predictor(
            options.model, options.labels, options.input_range, options.trust
        )
        all_read = [
            _classify(predictor, pictures[start : start + BATCH_SIZE], options.top)
            for start in range(0, len(pictures), BATCH_SIZE)
        ]
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0 if all(all_read) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m levit_tf.classify", description="Classifies pictures with a LeViT."
    )
    parser.add_argument(
        "--model",
        required=True,
        metavar="FILE_OR_VARIANT",
        help="a .keras file, a .tflite file, a SavedModel directory, or the name of a variant, "
        "such as LeViT256, for its released ImageNet weights",
    )
    parser.add_argument(
        "--top", type=_positive, default=5, help="how many classes to name (default: %(default)s)"
    )
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="class names, one a line (default: labels.txt beside the model, else its own names)",
    )
    parser.add_argument(
        "--input_range",
        choices=tuple(INPUT_RANGES),
        help="what a .keras model takes, where the file does not say it",
    )
    parser.add_argument("--trust", action="store_true", help=TRUST_HELP)
    parser.add_argument(
        "pictures",
        nargs="+",
        metavar="PICTURE",
        help="JPEG, PNG, GIF, BMP or WebP files, or folders",
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return int(text)


def _files(pictures: Sequence[str]) -> list[str]:
    """Files as they are, folders as the pictures in them; what is left out there is reported."""
    files = []
    for picture in pictures:
        if not os.path.isdir(picture):
            files.append(picture)
            continue
        found, skipped = pictures_in(picture, "PICTURE")
        files += found
        if skipped:
            print(f"{printable(picture)}: skipped {skipped_text(skipped)}", file=sys.stderr)
    return files


def _classify(predictor: Predictor, pictures: Sequence[str], top: int) -> bool:
    """Classifies one batch and prints it. Returns whether all of its pictures could be read."""
    readable, images = [], []
    for picture in pictures:
        try:
            images.append(load_images([picture], predictor.input_size)[0])
            readable.append(picture)
        except ImageError as error:
            print(f"error: {error}", file=sys.stderr)
    if images:
        scores = predictor.predict(images)
        best = top_classes(scores, min(top, predictor.classes))
        for picture, row, indices in zip(readable, scores, best, strict=True):
            print(printable(picture))
            for index in indices:
                print(f"  {100 * row[index]:6.2f} %  {predictor.class_names[index]}")
    return len(readable) == len(pictures)


if __name__ == "__main__":
    sys.exit(main())
