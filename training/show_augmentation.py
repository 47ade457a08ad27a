"""Saves a contact sheet of augmented training pictures.

    python -m training.show_augmentation --images=FOLDER --output=sheet.png
    python -m training.show_augmentation --images=digits --output=sheet.png --rows=10 --seed=1

Each row shows a picture, first unchanged and then as the official recipe augments it in successive
epochs. Mixup and CutMix, which need a batch, are left out.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from levit_common import cli
from levit_common.lazy import lazy_names
from training.choices import EMBEDDED_PICTURES

_WORK = "training.augment.contact_sheet"
__getattr__ = lazy_names(__name__, augmented_sheet=_WORK, load_pictures=_WORK, save_grid=_WORK)


def main() -> None:
    from training.augment.contact_sheet import augmented_sheet, load_pictures, save_grid

    args = flags.FLAGS
    pictures, size = load_pictures(args.images, args.rows)
    save_grid(augmented_sheet(pictures, size, args.columns, args.seed), Path(args.output))
    print(f"written: {args.output}")


def define_flags() -> None:
    flags.DEFINE_string(
        "images", EMBEDDED_PICTURES, f"A folder of pictures, or {EMBEDDED_PICTURES!r}."
    )
    flags.DEFINE_string("output", None, "The PNG file to write; an existing one is replaced.")
    flags.DEFINE_integer("rows", 6, "Number of pictures.", lower_bound=1)
    flags.DEFINE_integer("columns", 8, "Augmented versions per picture.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Seed of the run whose augmentation is shown.")
    flags.mark_flag_as_required("output")


COMMAND = cli.Command(main, define_flags)

if __name__ == "__main__":
    COMMAND.run()
