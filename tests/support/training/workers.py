"""Runs of the training command in processes of their own, as many at a time as a test needs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from training.checkpoints import manifest

# As in a user's terminal, whatever the tests themselves set.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
DEADLINE = 600  # seconds; only a run that hangs takes so long, also on a busy machine
# Few steps with everything that draws at random.
RANDOM = (
    *("dataset=digits", "variant=LeViTTiny", "epochs=2", "warmup_epochs=1", "batch_size=96"),
    *("drop_path=0.1", "mixup=0.8", "cutmix=1.0", "repeats=3", "ema_decay=0.9", "erasing=0.25"),
    *("clip_factor=0.01", "checkpoint_steps=4"),
)
# What a log says of the machine, not of the run.
TIMINGS = ("images_per_second", "data_wait")


def start(
    folder: Path,
    settings: Sequence[str] = RANDOM,
    *flags: str,
    environment: dict[str, str] | None = None,
    before: str = "",
    module: str = "training.main",
) -> subprocess.Popen:
    """Starts `python -m training.main`, or another module with its flags.

    Args:
      folder: of the run.
      settings: "field=value", over those of the config "digits".
      flags: more of the command.
      environment: variables beside the usual ones.
      before: Python code to run first, in the same process.
      module: what to run.
    """
    arguments = [f"--output={folder}", *flags, *(f"--set={setting}" for setting in settings)]
    command = ["-m", module, *arguments]
    if before:
        code = f"{before}\nimport runpy\nrunpy.run_module({module!r}, run_name='__main__')"
        command = ["-c", code, *arguments]
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**ENVIRONMENT, **(environment or {})},
    )


def finish(process: subprocess.Popen) -> subprocess.CompletedProcess:
    """Waits for a process."""
    try:
        out, err = process.communicate(timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def run(folder: Path, *args, **kwargs) -> subprocess.CompletedProcess:
    """Runs the command to its end, which must be a good one."""
    result = finish(start(folder, *args, **kwargs))
    assert result.returncode == 0, result.stderr
    return result


def wait_for(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    """Waits until a condition holds while a process runs."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def has_checkpoint(folder: Path, step: int) -> Callable[[], bool]:
    """Whether a run has saved a step, or a later one that has replaced it since.

    It goes on from there: the manifest comes last.
    """

    def has_it() -> bool:
        manifests = (folder / "checkpoints").glob("ckpt-*.json")
        return any(int(path.stem.removeprefix("ckpt-")) >= step for path in manifests)

    return has_it


def cluster(workers: int) -> list[dict[str, str]]:
    """TF_CONFIG of each worker on free ports of this machine."""
    sockets = [socket.socket() for _ in range(workers)]
    for one in sockets:
        one.bind(("localhost", 0))
    hosts = [f"localhost:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return [
        {
            "TF_CONFIG": json.dumps(
                {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
            )
        }
        for index in range(workers)
    ]


def rows(folder: Path) -> list[dict]:
    """The log of a run without its timings."""
    found = json.loads((folder / "log.json").read_text())
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in found]


def checkpoint(folder: Path) -> dict[str, np.ndarray]:
    """All variables of a run's last checkpoint by name."""
    steps = manifest.steps(folder / "checkpoints")
    reader = tf.train.load_checkpoint(str(manifest.prefix_of(folder / "checkpoints", steps[0])))
    names = set(reader.get_variable_to_shape_map()) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    return {name: reader.get_tensor(name) for name in names}
