"""Finds the joints of a person in pictures, and draws the skeleton.

    python -m levit_tf.keypoints --model=FILE [--box=LEFT,TOP,WIDTH,HEIGHT] [--output=DIR] \\
        PICTURE...

Prints the joints of each picture: x and y in its pixels, and confidence. --output draws them over
copies of the pictures. FILE is what `python -m training.main --config=keypoints` or a converter
wrote, or the folder of such a run. A picture that cannot be read is reported on stderr, and the
others are looked at all the same.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from absl import flags

from levit_common import cli
from levit_common.picture_files import distinct_stems, printable


def main(picture: str, *pictures: str) -> int:
    from PIL import Image

    from levit_common.files import atomic_path
    from levit_lite.images import ImageError, load_image
    from levit_tf.keypoints.drawing import draw_skeleton
    from levit_tf.keypoints.finding import load_finder

    args = flags.FLAGS
    finder = load_finder(args.model, args.input_range, args.trust)
    is_all_read = True
    names = (picture, *pictures)
    for name, stem in zip(names, distinct_stems(names), strict=True):
        try:
            pixels = load_image(name)
        except ImageError as error:
            print(f"error: {error}", file=sys.stderr)
            is_all_read = False
            continue
        joints = finder.find(pixels, _box(args.box))
        print(printable(name))
        for joint, (x, y, confidence) in zip(finder.skeleton.joints, joints, strict=True):
            print(f"  {joint:15} {x:8.1f} {y:8.1f} {confidence:6.2f}")
        if args.output:
            os.makedirs(args.output, exist_ok=True)
            path = Path(args.output, f"{stem}-joints.png")
            with atomic_path(path, overwrite=True) as temporary:
                drawn = draw_skeleton(pixels, joints, finder.skeleton, args.confidence)
                Image.fromarray(drawn).save(temporary, format="PNG")
            print(f"  drawn: {path}")
    return 0 if is_all_read else 1


def _box(texts: list[str] | None) -> tuple[float, float, float, float] | None:
    if not texts:
        return None
    try:
        left, top, width, height = map(float, texts)
    except ValueError as error:
        raise ValueError(
            f"--box: expected LEFT,TOP,WIDTH,HEIGHT in pixels. Received: {','.join(texts)}"
        ) from error
    return left, top, width, height


def define_flags() -> None:
    flags.DEFINE_string("model", None, "Network that finds joints: a file, or a run's folder.")
    flags.DEFINE_list("box", None, "Where the person is: LEFT,TOP,WIDTH,HEIGHT in pixels.")
    flags.DEFINE_string("output", None, "Folder for the drawings.")
    flags.DEFINE_float("confidence", 0.1, "Joints with a lower confidence are not drawn.")
    cli.define_input_range()
    cli.define_trust()
    flags.mark_flag_as_required("model")


def check(*_: str) -> None:
    _box(flags.FLAGS.box)


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
