"""Classifies pictures on a small device, with only numpy, Pillow and LiteRT.

    python -m serving.edge --model=FILE.tflite PICTURE...
    python -m serving.edge --model=FILE.tflite --watch=FOLDER
    python -m serving.edge --model=FILE.tflite --camera=0 [--every=1]
    python -m serving.edge --model=FILE.tflite --video=FILE [--every=1]

A PICTURE is a JPEG, PNG, GIF, BMP or WebP file, or a folder of them. A camera or a video needs
OpenCV. The output has one line of JSON per picture: its name, the most probable classes with their
probabilities, the exit that answered if the file is dynamic, and the network's time in
milliseconds; or its name and the error. The exit code is 1 if there was an error.
"""

# No absl here: the command must run where only numpy, Pillow and LiteRT are installed.

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence

from serving.edge.guarded import run_guarded

_USER_ERRORS = (ValueError, OSError, ImportError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    try:
        options = _parse(arguments)
    except ValueError as error:
        print(f"error: {error} (--help lists the flags)", file=sys.stderr)
        return 1
    return run_guarded(lambda: _run(options), options.model)


def _run(options: argparse.Namespace) -> int:
    try:
        return _classify(options)
    except _USER_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # the usual end of watching and cameras
        return 0 if options.watch or options.camera is not None else 130


def _classify(options: argparse.Namespace) -> int:
    from levit_common.files import check_exists
    from levit_common.quiet import held_stderr
    from levit_lite.images import ImageError
    from levit_lite.prediction.predictor import load_tflite_predictor
    from serving.edge.answers import answer

    check_exists(options.model, "a .tflite file, which converters.to_tflite writes")
    with held_stderr():  # LiteRT prints a line about its delegate
        predictor = load_tflite_predictor(
            options.model, options.labels, options.threads, run_first=False
        )
    failed = False
    for about, image in _pictures(options, predictor.input_size):
        if isinstance(image, ImageError):
            failed = True
            line = {**about, "error": str(image)}
        else:
            line = {**about, **answer(predictor, image, options.top)}
        # Flushed, since the reader of these lines must not wait for a full buffer. File names may
        # contain bytes that are not text, which JSON escapes.
        print(json.dumps(line), flush=True)
    return 1 if failed else 0


def _pictures(options: argparse.Namespace, size: tuple[int, int]) -> Iterator:
    from serving.edge import sources

    if options.watch:
        return sources.of_watched_folder(options.watch, size, options.every or 0.2)
    if options.camera is not None:
        return sources.of_video(options.camera, size, options.every)
    if options.video:
        return sources.of_video(options.video, size, options.every)
    return sources.of_files(options.pictures, size)


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise ValueError(message)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m serving.edge",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("pictures", nargs="*", metavar="PICTURE", help="a file or a folder")
    parser.add_argument("--model", required=True, metavar="FILE", help="a .tflite file")
    parser.add_argument("--watch", metavar="FOLDER", help="classify files that appear in a folder")
    parser.add_argument(
        "--camera", type=int, metavar="NUMBER", help="classify the frames of a camera"
    )
    parser.add_argument("--video", metavar="FILE", help="classify the frames of a video")
    parser.add_argument(
        "--every",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="seconds between frames (default 0), or between scans of a folder (default 0.2)",
    )
    parser.add_argument("--top", type=int, default=5, help="number of classes to return (5)")
    parser.add_argument("--labels", metavar="FILE", help="file of class names, one per line")
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="number of LiteRT's threads; its own choice by default",
    )
    options = parser.parse_args(arguments)
    sources = {
        "PICTURE...": bool(options.pictures),
        "--watch": options.watch is not None,
        "--camera": options.camera is not None,
        "--video": options.video is not None,
    }
    given = [name for name, is_given in sources.items() if is_given]
    if len(given) != 1:
        raise ValueError(
            f"expected one of {', '.join(sources)}. Received: {', '.join(given) or 'none'}"
        )
    for name, lowest in (("top", 1), ("threads", 1), ("every", 0)):
        value = getattr(options, name)
        if value is not None and not value >= lowest:
            raise ValueError(f"--{name}: expected at least {lowest}. Received: {value}")
    return options


if __name__ == "__main__":
    sys.exit(main())
