"""Runs a training: from a configuration to checked artefacts in a folder."""

from __future__ import annotations

import dataclasses
import os
import shlex
from pathlib import Path

import numpy as np
import tensorflow as tf

from converters.reporting.file_figures import measure_files
from converters.tflite.calibration import CALIBRATION_IMAGES
from levit_common.json_files import write_json
from levit_tf.pictures.picture_folders import skipped_text
from training.artefacts import format_table, write_artefacts
from training.checkpoints import folder as run_folder
from training.checkpoints.checkpoint import BEST, OTHER_WORKERS, Checkpoints
from training.checkpoints.record import Record, make_record, recorded_addresses
from training.checkpoints.record import write as write_record
from training.checkpoints.resume import ROWS, measure_best, print_beginning, restore, save_best
from training.config import Config
from training.data import Dataset, load_data, summary
from training.failures import memory_explained, other_workers_explained
from training.log import Log
from training.loop.epochs import NonFiniteLossError, fit
from training.loop.preemption import stop_on_signals
from training.loop.session import Session, make_session
from training.networks import exits, network
from training.networks.named import find_networks
from training.outcome import RESULT_FILE, Outcome, judge
from training.pictures import contact_sheet, learning_curve
from training.strategy import make_strategy, meet, worker_of

CHECKED_IMAGES = 1000


def run(
    config: Config,
    output: str | os.PathLike,
    *,
    strategy: str | tf.distribute.Strategy = "default",
    overwrite: bool = False,
    changed_pictures: bool = False,
) -> bool:
    """Trains, exports, checks every artefact, and draws pictures of the results.

    If the folder contains a run of the same configuration, it resumes where that run stopped.

    Args:
      config: the configuration.
      output: folder of the run; it is created. Several workers need a shared folder.
      strategy: one of `training.choices.STRATEGIES`, or the strategy itself.
      overwrite: whether to begin anew if there is a run already.
      changed_pictures: whether to resume although the pictures have changed since the run began;
        the classes and the number of steps per epoch must be the same.

    Returns:
      Whether the run is finished; if not, a signal stopped it, and the same call resumes it.

    Raises:
      FileExistsError: `output` contains other files, a run of another configuration or of other
        pictures, or a run in progress.
      NonFiniteLossError: the loss is infinite or NaN.
      OSError: a checkpoint cannot be written, another worker is gone, or there is not enough
        memory.
      ValueError: an argument is not valid, or pictures cannot be read.
    """
    folder = Path(output)
    # Before anything is written, or many pictures are looked at.
    named = find_networks(config, {} if overwrite else recorded_addresses(folder, config))
    name = strategy if isinstance(strategy, str) else type(strategy).__name__
    replicas = make_strategy(strategy) if isinstance(strategy, str) else strategy
    worker = worker_of(replicas)
    with run_folder.locked(folder / OTHER_WORKERS / str(worker) if worker else folder):
        data = load_config_data(config)
        if worker == 0:
            print(summary(data), flush=True)
        skipped_before = len(data.skipped)
        with other_workers_explained(replicas, folder), data.failure_explained():
            # Not around the export, which has batches of its own.
            with memory_explained(config.batch_size, config.accumulate):
                session = make_session(config, data, replicas, named)
                record = None
                if worker == 0:
                    record = prepare(session, folder, name, overwrite, changed_pictures)
                meet(replicas)  # no worker looks for checkpoints before the folder is ready
                is_finished = train(session, folder, record)
            if found_later := data.skipped[skipped_before:]:
                print(f"\nfound damaged, and skipped: {skipped_text(found_later)}")
            if worker == 0 and is_finished:
                found = _export(session, folder)
                print(f"\nwritten: {folder}")
                print(found)
    return is_finished


def prepare(
    session: Session,
    folder: Path,
    strategy: str = "default",
    overwrite: bool = False,
    changed_pictures: bool = False,
) -> Record:
    """Prepares a folder by `training.checkpoints.folder`, and prints config and messages."""
    record = make_record(
        session.config,
        session.data,
        session.schedule.steps_per_epoch,
        strategy,
        session.named.on_hub,
        session.named.digests(session.config),
    )
    prepared = run_folder.prepare(
        folder, record, overwrite=overwrite, changed_pictures=changed_pictures
    )
    print("\n".join([str(session.config), *prepared.lines]))
    return prepared.record


def train(session: Session, folder: Path, record: Record | None) -> bool:
    """Trains from the newest checkpoint in a folder, if there is one, until the end or a signal.

    Writes the log, the learning curve, checkpoints and the best network so far to the folder.

    Args:
      session: the parts of the run.
      folder: folder of the run; it exists.
      record: the result of `prepare`; None for workers other than the first.

    Returns:
      Whether the end was reached.

    Raises:
      NonFiniteLossError: the loss is infinite or NaN.
      OSError: a checkpoint cannot be read or written.
    """
    worker = worker_of(session.strategy)
    is_chief = worker == 0
    checkpoints = Checkpoints(
        folder,
        session.state,
        session.optimizer.iterations,
        keep=session.config.keep_checkpoints,
        worker=worker,
    )
    restored = restore(session, folder, checkpoints, is_chief)
    rows = restored.notes[ROWS] if restored else []
    best = measure_best(folder) if is_chief else None
    if is_chief:
        record = record.begun(restored, session.step, checkpoints.passed_over)
        write_record(folder, record)
        run_folder.clean(folder)
        print_beginning(session, restored, checkpoints.passed_over)
        if session.teacher and session.teacher.notes:
            print(session.teacher)
        print("\n".join([f"{session.plan}\n", *map("WARNING: {}\n".format, session.warnings())]))
    attempt = len(record.attempts) if record else 1
    log = Log(folder, session.step, writes=is_chief, rows=rows, attempt=attempt)

    def choose() -> None:
        """Chooses average or raw weights to ship, whichever were better when last evaluated."""
        if log.rows:
            session.ships_average.assign(float(log.rows[-1].ships_average))

    choose()

    def save(is_best: bool) -> None:
        nonlocal best
        choose()
        if is_best and is_chief:
            save_best(session, folder)
            best = measure_best(folder)
        notes = {ROWS: log.as_json(), "run": record.as_json(), BEST: best} if record else {}
        checkpoints.save(is_best, notes)

    with stop_on_signals() as stop_wanted:
        if not session.fill_cache(stop_wanted):
            if is_chief:
                print("\nstopped while the teacher was asked. The same command goes on from there.")
            return False
        try:
            is_finished = fit(
                session.train_step(),
                session.train_batches(session.step),
                session.schedule,
                first_step=session.step,
                epoch_loss=session.epoch_loss,
                evaluators=session.evaluators(),
                log=log,
                save=save,
                stop_wanted=stop_wanted,
            )
        except NonFiniteLossError as error:
            raise NonFiniteLossError(f"{error} {_advice(session.config, checkpoints)}") from error
    if is_chief and is_finished:
        learning_curve(log.history(), folder / "curves.png")
    elif is_chief:
        print(
            f"\nstopped by {stop_wanted.name or 'another worker'} after step {session.step} of "
            f"{session.schedule.steps}; saved: {checkpoints.latest}. The same command goes on from "
            "there, without --overwrite."
        )
    return is_finished


def load_config_data(config: Config) -> Dataset:
    """Opens the data set of a configuration, with the input size of its network."""
    return load_data(
        config.dataset,
        split_train=config.split_train,
        split_test=config.split_test,
        input_size=network.input_size(config),
        strict=config.strict,
    )


def _export(session: Session, folder: Path) -> Outcome:
    """Writes every artefact of the final network, and checks each on held-out pictures.

    Returns:
      The outcome of the run, which is also written to the folder.
    """
    print("\nexporting and checking every artefact on the held-out pictures ...")
    data = session.data
    shipped = session.shipped()
    names = write_artefacts(
        shipped,
        folder,
        class_names=data.class_names,
        calibration_images=data.calibration_images(CALIBRATION_IMAGES),
        overwrite=True,
    )
    images, labels = data.test_images(CHECKED_IMAGES)
    reports, probabilities = measure_files(folder, names, images, labels)
    write_json(folder / "artefacts.json", [dataclasses.asdict(report) for report in reports])
    contact_sheet(images, labels, probabilities, data.class_names, folder / "predictions.png")
    print(f"\n{format_table(reports)}")
    of_exits = None
    if session.config.exits:
        checked = exits.check_exits(shipped, folder, images, labels)
        of_exits = {report.name: report.top1 for report in checked}
        print(f"\n{exits.format_exits(checked)}")
        named = session.config.dataset if data.folder else "imagefolder:PATH"
        words = f"--models={folder / names[0]}", f"--calibration={named}", "--output=DIR"
        print(f"\nnext: python -m converters.to_dynamic {shlex.join(words)}")
    rows = Log(folder, session.step, writes=False).rows
    found = judge(
        session.config,
        rows,
        pictures=len(labels) if of_exits else data.num_test,
        chance=float(np.bincount(labels).max() / len(labels)),
        early=session.warnings(),
        seen=data.num_seen,
        exits=of_exits,
    )
    write_json(folder / RESULT_FILE, dataclasses.asdict(found))
    return found


def _advice(config: Config, checkpoints: Checkpoints) -> str:
    last = checkpoints.latest
    kept = f"The last good checkpoint is {last}." if last else "There is no checkpoint before it."
    advice = "Try a lower learning_rate, more warmup_epochs"
    advice += "" if config.clip_factor else ", clip_factor=0.01"
    advice += "" if config.precision == "float32" else ", precision=float32"
    return f"{kept} {advice}, in a new folder."
