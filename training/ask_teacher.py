"""Fills the cache of a teacher's answers for a run, without training.

    python -m training.ask_teacher --config=NAME --set=teacher=FILE --set=teacher_cache=DIR ...

It takes the config and settings of the run; the teacher may also be hf://OWNER/NAME. You can start
it several times, on one machine or on several machines that share the folder: each process takes
the next epoch that no other has begun. `training.main` computes by itself whatever is missing.
"""

from __future__ import annotations

import sys

from absl import flags

from levit_common import cli
from training import config

STOPPED = 3  # exit code


def main() -> None:
    from training.loop.preemption import stop_on_signals
    from training.loop.session import make_session
    from training.run import load_config_data
    from training.strategy import make_strategy

    args = flags.FLAGS
    settings = config.override(config.load_config(args.config), args.set)
    if not isinstance(settings, config.Config):
        raise ValueError(f"--config={args.config} has no teacher. Choose one of a classifier.")
    data = load_config_data(settings)
    session = make_session(settings, data, make_strategy("default"))
    with stop_on_signals() as stop_wanted:
        if not session.fill_cache(stop_wanted):
            print(f"stopped by {stop_wanted.name}. What is whole stays in {session.cache.folder}.")
            sys.exit(STOPPED)


def define_flags() -> None:
    flags.DEFINE_string("config", "digits", "Name of a module in training.configs.")
    flags.DEFINE_multi_string("set", [], "field=value to change in the config; may be repeated.")


def check() -> None:
    args = flags.FLAGS
    config.check_config_name(args.config)
    if config.parse_settings(args.set).get("teacher_cache") is None:
        raise ValueError("--set=teacher_cache=DIR is needed: the folder to fill.")


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
