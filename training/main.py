"""Trains a LeViT, exports it in every format and checks each on held-out pictures.

    python -m training.main --output=DIR
    python -m training.main --output=DIR --config=digits --set=epochs=5 --set=seed=1

Configurations are the modules of `training.configs`; `training.config.Config` explains the fields.
--set=FIELD=auto leaves one to `training.plan`, which says what it chose and why; --set=init_from
takes a file, `imagenet` for the released weights, or `none` for random ones.
The same command goes on with a run that was stopped.
"""

from __future__ import annotations

import sys

from absl import flags

from converters import cli
from training import config, run
from training.config_checks import INIT_FROM
from training.strategy import STRATEGIES, TPUNotFoundError, make_strategy

NO_TPU = 2  # exit code


def main(argv: list[str]) -> None:
    del argv  # cli.run lets none through
    args = flags.FLAGS
    settings = config.override(config.load_config(args.config), args.set)
    try:
        strategy = make_strategy(args.strategy, args.tpu, args.tpu_zone, args.gcp_project)
    except TPUNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(NO_TPU)
    run.run(settings, args.output, strategy=strategy, overwrite=args.overwrite)


def define_flags() -> None:
    flags.DEFINE_string("config", "digits", "Name of a module in training.configs.")
    flags.DEFINE_string("output", None, "Folder of the run: new, empty, or of the same run before.")
    flags.DEFINE_string("strategy", "default", f"{', '.join(STRATEGIES)}.")
    flags.DEFINE_string("tpu", None, "Name or address of the TPU, for --strategy=tpu.")
    flags.DEFINE_string("tpu_zone", None, "Its Google Cloud zone, if not this machine's.")
    flags.DEFINE_string("gcp_project", None, "Its Google Cloud project, if not this machine's.")
    flags.DEFINE_multi_string(
        "set",
        [],
        "field=value of the config to change; may be repeated. A value may be none, and auto where "
        f"the plan can choose it. What the weights begin with: {INIT_FROM}.",
    )
    flags.DEFINE_bool("overwrite", False, "Begin anew where the folder has a run already.")
    flags.mark_flag_as_required("output")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
