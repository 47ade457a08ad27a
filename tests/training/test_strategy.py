"""Strategies by name, and what each says when it cannot be had."""

import json

import pytest
import tensorflow as tf

from training.strategy import make_strategy, worker_of


def test_an_unknown_strategy_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"onedevice, mirrored, multiworker, tpu\. Received: 'h"):
        make_strategy("horovod")


def test_a_parameter_server_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"gradients of old weights.*Use multiworker"):
        make_strategy("parameterserver")


def test_the_default_is_the_choice_of_tensorflow():
    assert make_strategy("default") is tf.distribute.get_strategy()
    assert worker_of(make_strategy("default")) == 0
    assert worker_of(make_strategy("onedevice")) == 0


def test_a_tpu_for_another_strategy_is_refused():
    with pytest.raises(ValueError, match=r"--tpu.* need --strategy=tpu"):
        make_strategy("mirrored", tpu="local")


CLUSTER = {"worker": ["a:1", "b:1"]}


@pytest.mark.parametrize(
    "text",
    [
        None,
        "no json",
        json.dumps({"cluster": {}}),
        json.dumps({"cluster": CLUSTER, "task": {"index": 0}}),
        json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": "first"}}),
        json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": None}}),
    ],
)
def test_several_workers_need_a_cluster(monkeypatch, text):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="needs the environment variable TF_CONFIG"):
        make_strategy("multiworker")


@pytest.mark.parametrize("index", [2, "2", -1])
def test_a_worker_outside_of_the_cluster_is_refused(monkeypatch, index):
    config = {"cluster": CLUSTER, "task": {"type": "worker", "index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    with pytest.raises(ValueError, match=f"no worker {index} among 2"):
        make_strategy("multiworker")
