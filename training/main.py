"""Trains a LeViT, exports it in every format and checks each on held-out pictures.

    python -m training.main --output=DIR
    python -m training.main --output=DIR --config=digits --set=epochs=5 --set=seed=1

Configurations are the modules of `training.configs`; `training.config.Config` explains the fields.
"""

from __future__ import annotations

from absl import flags, logging

from converters import cli
from training.quiet import quiet_native_output


def main(argv: list[str]) -> None:
    del argv  # cli.run lets none through
    args = flags.FLAGS
    if not args["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # TensorFlow reports every file it writes
    with quiet_native_output():  # this is where TensorFlow is imported
        from training import config, run
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
