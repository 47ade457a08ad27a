"""Classifies pictures on the command line.

    python -m levit_tf.classify --model=FILE_OR_VARIANT [--top=5] [--labels=FILE] PICTURE...

A PICTURE is a JPEG, PNG, GIF, BMP or WebP file, or a folder of them. Prints the name of each
picture and below it the most likely classes with their probabilities; for a dynamic file also the
exit that classified the picture. A picture that cannot be read is reported on stderr, and the
others are still classified.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from absl import flags

from levit_common import cli
from levit_common.picture_files import printable
from levit_lite.class_names import top_classes
from levit_lite.images import ImageError
from levit_lite.prediction.predictor import BATCH_SIZE, Predictor
from levit_tf.pictures.images import load_images
from levit_tf.pictures.picture_folders import pictures_in, skipped_text
from levit_tf.prediction.predictor import load_predictor


def main(picture: str, *pictures: str) -> int:
    args = flags.FLAGS
    # Takes effect if TensorFlow is imported only later: for a SavedModel on another Keras backend.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    files = _files((picture, *pictures))
    predictor = load_predictor(args.model, args.labels, args.input_range, args.trust)
    all_read = [
        _classify(predictor, files[start : start + BATCH_SIZE], args.top)
        for start in range(0, len(files), BATCH_SIZE)
    ]
    return 0 if all(all_read) else 1


def define_flags() -> None:
    flags.DEFINE_string(
        "model",
        None,
        "A .keras, .tflite or .onnx file, a SavedModel directory, the folder of a run, "
        "hf://OWNER/NAME for a repository on the Hugging Face hub, or the name of a variant: "
        "LeViT256 for its released ImageNet weights, LeViTMini for the weights that come with the "
        "package.",
    )
    flags.DEFINE_integer("top", 5, "How many classes to print per picture.", lower_bound=1)
    flags.DEFINE_string(
        "labels",
        None,
        "Text file of class names, one per line; by default the names stored in the model, else "
        "labels.txt in the folder of the model.",
    )
    cli.define_input_range()
    cli.define_trust()
    flags.mark_flag_as_required("model")


def _files(pictures: Sequence[str]) -> list[str]:
    """Returns the picture files, with folders expanded; reports skipped files on stderr."""
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
        scores, exits = predictor.predict_with_exits(images)
        best = top_classes(scores, min(top, predictor.classes))
        for number, (picture, row, indices) in enumerate(zip(readable, scores, best, strict=True)):
            # The exit of a dynamic file whose confidence was high enough.
            print(printable(picture) + ("" if exits is None else f"  (exit {exits[number]})"))
            for index in indices:
                print(f"  {100 * row[index]:6.2f} %  {predictor.class_names[index]}")
    return len(readable) == len(pictures)


COMMAND = cli.Command(main, define_flags)

if __name__ == "__main__":
    COMMAND.run()
