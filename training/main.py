"""Trains a LeViT, exports it in every format and checks each on held-out pictures.

    python -m training.main --output=DIR
    python -m training.main --output=DIR --config=digits --set=epochs=5 --set=seed=1

Configurations are the modules of `training.configs`; `training.config.Config` explains the fields.
--set=FIELD=auto lets `training.plan` choose a value, and it prints the value and the reason.
--set=init_from takes a file, the folder of a run, a repository on the Hugging Face hub
(`hf://OWNER/NAME`), `imagenet` for the released weights, `LeViTMini` for those that come with the
package, or `none` for random ones; --set=teacher a file, the folder of a run or such a repository.
To resume a run that was stopped, give the same command again.
"""

from __future__ import annotations

import re
import shlex
import sys

from absl import flags

from levit_common import cli
from training import config
from training.choices import KEYPOINT_CONFIGS, STRATEGIES, check_strategy
from training.config_checks import INIT_FROM
from training.keypoints.config import KeypointConfig

NO_TPU, INTERRUPTED = 2, 130  # exit codes


def main() -> None:
    from training import run
    from training.strategy import TPUNotFoundError, make_strategy

    args = flags.FLAGS
    settings = config.override(config.load_config(args.config), args.set)
    if not isinstance(settings, config.Config):
        from training.keypoints.run import run as run_keypoints

        run_keypoints(settings, args.output, overwrite=args.overwrite)
        return
    try:
        strategy = make_strategy(args.strategy, args.tpu, args.tpu_zone, args.gcp_project)
    except TPUNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(NO_TPU)
    try:
        is_finished = run.run(
            settings,
            args.output,
            strategy=strategy,
            overwrite=args.overwrite,
            changed_pictures=args.changed_pictures,
        )
    except KeyboardInterrupt:  # before the first step or after the last
        print(f"\ninterrupted. What is saved stays; go on with: {_command()}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    if not is_finished:
        print(f"Go on with: {_command()}")


def _command() -> str:
    """Returns the command that resumes this run: what the user typed, without --overwrite."""
    words = [word for word in sys.orig_argv if not re.fullmatch(r"--?overwrite(=.*)?", word)]
    return shlex.join(words)


def define_flags() -> None:
    flags.DEFINE_string("config", "digits", "Name of a module in training.configs.")
    flags.DEFINE_string("output", None, "Folder of the run: new, empty, or of a run to resume.")
    flags.DEFINE_string("strategy", "default", f"{', '.join(STRATEGIES)}.")
    flags.DEFINE_string("tpu", None, "Name or address of the TPU, for --strategy=tpu.")
    flags.DEFINE_string("tpu_zone", None, "Google Cloud zone, if not that of this machine.")
    flags.DEFINE_string("gcp_project", None, "Google Cloud project, if not that of this machine.")
    flags.DEFINE_multi_string(
        "set",
        [],
        "field=value of the config to change; may be repeated. Values may be none, or auto where "
        f"the plan can choose it. Initial weights: {INIT_FROM}.",
    )
    flags.DEFINE_bool("overwrite", False, "Begin anew if the folder already contains a run.")
    flags.DEFINE_bool(
        "changed_pictures",
        False,
        "Resume although the pictures have changed since the run began; the classes and the "
        "number of steps per epoch must be the same.",
    )
    flags.mark_flag_as_required("output")


def check() -> None:
    args = flags.FLAGS
    config.check_config_name(args.config)
    finds_joints = args.config in KEYPOINT_CONFIGS
    config.parse_settings(args.set, KeypointConfig if finds_joints else config.Config)
    if finds_joints and (args.strategy != "default" or args.changed_pictures):
        raise ValueError(
            f"--config={args.config} trains on one device: --strategy and --changed_pictures are "
            "for classifiers."
        )
    check_strategy(args.strategy, args.tpu, args.tpu_zone, args.gcp_project)


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
