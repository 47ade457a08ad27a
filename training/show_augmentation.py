"""Saves a contact sheet of training pictures as a network sees them.

    python -m training.show_augmentation --config=imagefolder --output=sheet.png \\
        --set=dataset=imagefolder:FOLDER --set=init_from=mine.keras
    python -m training.show_augmentation --images=FOLDER --output=sheet.png
    python -m training.show_augmentation --images=digits --output=sheet.png --rows=10 --seed=1

With `--config`, the sheet has the first pictures of the run that `training.main` would begin with
the same settings: its data, the augmentation that its plan chooses, mixup and CutMix, and above
each picture the classes that it teaches.

With `--images`, each row shows a picture, first unchanged and then as the paper's recipe augments
it in successive epochs. Mixup and CutMix, which need a batch, are left out.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from absl import flags

from levit_common import cli
from levit_common.lazy import lazy_names
from training import config
from training.choices import EMBEDDED_PICTURES, KEYPOINT_CONFIGS

_WORK = "training.augment.contact_sheet"
__getattr__ = lazy_names(__name__, augmented_sheet=_WORK, load_pictures=_WORK, save_grid=_WORK)


def main() -> None:
    args = flags.FLAGS
    output = Path(args.output)
    if args.config:
        settings = config.override(config.load_config(args.config), args.set)
        show_run(settings, args.rows, args.columns, output)
    else:
        from training.augment.contact_sheet import augmented_sheet, load_pictures, save_grid

        pictures, size = load_pictures(args.images or EMBEDDED_PICTURES, args.rows)
        save_grid(augmented_sheet(pictures, size, args.columns, args.seed or 0), output)
    print(f"written: {output}")


def show_run(settings: config.Config, rows: int, columns: int, output: Path) -> None:
    """Draws the first pictures of a run, and prints what it found and planned.

    Args:
      settings: the configuration of the run. Its teacher, which sees the same pictures, is left
        out.
      rows, columns: of the sheet.
      output: the PNG file; an existing one is replaced.

    Raises:
      FileNotFoundError, ImportError, ValueError: see `training.loop.session.make_session`.
    """
    import numpy as np

    from training.data import summary
    from training.loop.session import make_session
    from training.pictures import batch_sheet
    from training.run import load_config_data
    from training.strategy import make_strategy

    defaults = config.Config()
    of_teacher = [field.name for field in dataclasses.fields(config.Config)]
    of_teacher = [name for name in of_teacher if name.startswith(("teacher", "distillation"))]
    settings = dataclasses.replace(
        settings, **{name: getattr(defaults, name) for name in of_teacher}
    )
    data = load_config_data(settings)
    print(summary(data))
    session = make_session(settings, data, make_strategy("default"))
    print(session.plan)
    batches, images, targets = session.seen_batches(), [], []
    for _ in range(min(-(-rows * columns // session.config.batch_size), session.schedule.steps)):
        seen = next(batches)
        images.append(seen[0].numpy())
        targets.append(seen[1].numpy())
    images, targets = (np.concatenate(x)[: rows * columns] for x in (images, targets))
    batch_sheet(images, targets, data.class_names, columns, output)


def define_flags() -> None:
    flags.DEFINE_string("config", None, "Config of a run, as for training.main; see --set.")
    flags.DEFINE_multi_string("set", [], "field=value of the config to change; may be repeated.")
    flags.DEFINE_string(
        "images",
        None,
        f"Instead of a config: a folder of pictures, or {EMBEDDED_PICTURES!r}, the default.",
    )
    flags.DEFINE_string("output", None, "The PNG file to write; an existing one is replaced.")
    flags.DEFINE_integer("rows", 6, "Number of rows; with --images, of pictures.", lower_bound=1)
    flags.DEFINE_integer(
        "columns", 8, "Pictures per row; with --images, versions of its picture.", lower_bound=1
    )
    flags.DEFINE_integer("seed", None, "With --images: seed of the augmentation; by default 0.")
    flags.mark_flag_as_required("output")


def check() -> None:
    args = flags.FLAGS
    if args.config is None:
        if args.set:
            raise ValueError("--set changes a config: name it by --config, such as imagefolder.")
        return
    config.check_config_name(args.config)
    if args.config in KEYPOINT_CONFIGS:
        raise ValueError(f"--config={args.config} finds joints; only classifiers can be shown.")
    config.parse_settings(args.set, config.Config)
    if args.images is not None:
        raise ValueError(
            "--config shows the run's own pictures, --images others by the paper's recipe: give "
            "one of them. --set=dataset=imagefolder:FOLDER names the pictures of a run."
        )
    if args.seed is not None:
        raise ValueError("--seed goes with --images; a run's seed is --set=seed=N.")


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
