"""`python -m tests.support.training.train_only`: training up to its exports, printing every loss.

python -m tests.support.training.train_only --output=DIR --strategy=NAME --set=field=value ...
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from absl import flags

from levit_common import cli
from training import config, main, run
from training.failures import other_workers_explained
from training.loop.session import Session, make_session
from training.optim.variables import raw, unique_name
from training.strategy import make_strategy, meet, worker_of


class _Printing(Session):
    def train_step(self):
        step = super().train_step()

        def printing(*batch):
            found = step(*batch)
            print(f"loss {float(found[0]):.9g}", flush=True)
            return found

        return printing


def train_only() -> None:
    args = flags.FLAGS
    settings = config.override(config.load_config(args.config), args.set)
    strategy = make_strategy(args.strategy)
    made = make_session(settings, run.load_config_data(settings), strategy)
    session = _Printing(**{f.name: getattr(made, f.name) for f in dataclasses.fields(made)})
    path = Path(args.output)
    path.mkdir(parents=True, exist_ok=True)
    record = None
    if worker_of(strategy) == 0:
        record = run.prepare(session, path, args.strategy, args.overwrite)
    meet(strategy)
    with other_workers_explained(strategy, path):
        run.train(session, path, record)
    for variable in made.model.variables:
        copies = getattr(raw(variable), "values", [raw(variable)])
        same = all((copy.numpy() == copies[0].numpy()).all() for copy in copies)
        if not same and "seed_generator" not in unique_name(variable):
            print(f"replicas differ: {unique_name(variable)}")


if __name__ == "__main__":
    cli.Command(train_only, main.define_flags).run()
