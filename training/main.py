"""Trains a LeViT, exports it in every format and checks each on held-out pictures.

    python -m training.main --output=DIR
    python -m training.main --output=DIR --config=digits --set=epochs=5 --set=seed=1

Configurations are the modules of `training.configs`; `training.config.Config` explains the fields.
"""

from __future__ import annotations

from absl import flags

from converters import cli
from training import config, run


def main(argv: list[str]) -> None:
    del argv  # cli.run lets none through
    args = flags.FLAGS
    run.run(
        config.override(config.load_config(args.config), args.set),
        args.output,
        strategy=args.strategy,
        overwrite=args.overwrite,
    )


def define_flags() -> None:
    flags.DEFINE_string("config", "digits", "Name of a module in training.configs.")
    flags.DEFINE_string("output", None, "Folder of the run; it must be new or empty.")
    flags.DEFINE_string("strategy", "default", "default, onedevice or mirrored.")
    flags.DEFINE_multi_string("set", [], "field=value of the config to change; may be repeated.")
    flags.DEFINE_bool("overwrite", False, "Replace the files of an earlier run in the folder.")
    flags.mark_flag_as_required("output")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
