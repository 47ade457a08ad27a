"""Writes a static page that classifies pictures, a camera or a video in the browser.

    python -m serving.web_app --model=levit.tflite --output=site
    python -m http.server --directory=site

The page loads nothing from outside of the folder. npm downloads LiteRT.js, 12 MB, when the first
page is written, and it is cached; --packages names a folder that already contains it.
"""

from __future__ import annotations

from absl import flags

from levit_common import cli
from levit_common.files import check_exists, check_new
from serving.web_app import FILES


def main() -> None:
    from serving.web_app.site import write_site

    args = flags.FLAGS
    written = write_site(
        args.model,
        args.output,
        labels=args.labels,
        packages=args.packages,
        overwrite=args.overwrite,
    )
    print(f"written: {args.output}, {written / 1e6:.1f} MB")
    print(f"look at it by: python -m http.server --directory={args.output}")


def define_flags() -> None:
    flags.DEFINE_string("model", None, "A .tflite file of a classifier.")
    flags.DEFINE_string("output", None, "Folder to write.")
    flags.DEFINE_string("labels", None, "Class names, one per line; by default the model's.")
    flags.DEFINE_string("packages", None, "Folder of npm's archives; by default a cache.")
    cli.define_overwrite()
    flags.mark_flags_as_required(["model", "output"])


def check() -> None:
    args = flags.FLAGS
    check_exists(args.model, "a .tflite file")
    check_new(args.output, args.overwrite, FILES, [args.model])


COMMAND = cli.Command(main, define_flags, check, starts_keras=False)

if __name__ == "__main__":
    COMMAND.run()
