"""The README's fine-tuning line as it stands, on a few pictures: it learns, or says so."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from levit_tf.pictures import digits
from tests.support.training.workers import ENVIRONMENT
from training.config import load_config, override
from training.data import Dataset
from training.data.sources import PixelSource
from training.loop.session import make_session
from training.strategy import make_strategy

# The recipe for batches of 2,048 and a thousand epochs, which the line once had at any batch.
LARGE_BATCHES = (
    *("rate_batch=512", "learning_rate=4e-4", "warmup_steps=none", "warmup_epochs=2"),
    *("mixup=0.8", "cutmix=1", "erasing=0.25", "rand_augment=rand-m9-mstd0.5-inc1", "flip=0.5"),
    *("head_rate=1", "label_smoothing=0.1", "freeze_batch_norm=true", "ema_decay=0"),
)

pytestmark = pytest.mark.slow


def part(classes, images, labels):
    chosen = np.flatnonzero(np.isin(labels, classes))
    return PixelSource(images[chosen], labels[chosen] - min(classes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network of digits 0 to 4 as `base.keras`, and 60 `pictures` of each of the others."""
    folder = tmp_path_factory.mktemp("finetuning")
    train, test = digits.load_data()
    sources = {"train": part(range(5), *train), "test": part(range(5), *test)}
    names = digits.CLASS_NAMES[:5]
    data = Dataset("few", class_names=names, input_size=(32, 32), **sources)
    config = override(load_config("digits"), ["epochs=8", "warmup_epochs=1"])
    session = make_session(config, data, make_strategy("default"))
    step, stop = session.train_step(), tf.constant(0.0)
    for images, targets in session.train_batches(0):
        step(images, targets, stop)
    assert session.evaluators().raw() > 0.9
    session.shipped().save(folder / "base.keras")
    images, labels = train
    for label in range(5, 10):
        path = folder / "pictures" / digits.CLASS_NAMES[label]
        path.mkdir(parents=True)
        for number in np.flatnonzero(labels == label)[:60]:
            Image.fromarray(images[number].astype(np.uint8)).save(path / f"{number}.png")
    return folder


def fine_tune(folder, name, *settings):
    """What the README's line prints and leaves in its folder."""
    command = [
        *(sys.executable, "-m", "training.main", f"--output={name}", "--config=imagefolder"),
        *("--set=dataset=imagefolder:pictures", "--set=variant=LeViTTiny"),
        *("--set=init_from=base.keras", "--set=epochs=3", "--set=batch_size=16"),
        *(f"--set={setting}" for setting in settings),
    ]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env=ENVIRONMENT, cwd=folder
    )
    assert result.returncode == 0, result.stderr
    return result.stdout, json.loads((folder / name / "result.json").read_text())


def test_the_line_as_it_stands_learns_and_prints_its_plan(folder):
    printed, result = fine_tune(folder, "mine")
    assert "plan: 17 steps an epoch, 51 in all (3 epochs, 16 pictures a step)" in printed
    assert "WARNING" not in printed
    assert result["top1"] >= 0.8  # of 30 pictures
    assert result["top1"] == max(result["raw_top1"], result["average_top1"])
    assert result["warnings"] == []
    assert f"| {result['shipped']}" in printed.rpartition("written: mine")[2]


def test_a_run_that_learns_nothing_says_so_last_and_what_to_set(folder):
    printed, result = fine_tune(folder, "nothing", *LARGE_BATCHES)
    before, _, after = printed.partition("epoch 1/3")
    assert "WARNING: the learning rates of all 51 steps add up to" in before
    assert result["top1"] < 0.5
    warning = result["warnings"][-1]
    assert printed.rstrip().endswith(warning)
    assert "little or nothing" in warning
    assert "1. --set=learning_rate=0.032" in warning
    assert "--set=mixup=0 --set=cutmix=0 --set=erasing=0 --set=rand_augment=none" in warning
    assert "WARNING" in after
