"""A classifier in steps as a served version: every path is warmed up, and who answered is told."""

import urllib.request

import numpy as np
import pytest

from converters.dynamic.paths import forcing, references
from levit_tf.dynamic.calibration import Calibration
from serving import load_test
from serving.client import __main__ as client_command
from serving.export.exporting import export
from serving.export.warmup_requests import BATCH_SIZES, execute, read_warmup
from serving.tensorflow_c.c_api import SavedModelSession
from tests.support.commands import call
from tests.support.randomize import with_random_exits
from tests.support.serving.export_serving import CLASS_NAMES, SIZE, small_model
from tests.support.serving.served_pictures import jpeg
from tests.support.serving.serving_cases import running

NAME = "steps"


@pytest.fixture(scope="module")
def exits():
    return with_random_exits(small_model())


@pytest.fixture(scope="module")
def exported(exits, tmp_path_factory):
    calibration = Calibration((2.0, 1.5), (0.4, 0.3), 0.01, 0.1, 1000, ())
    return export(
        exits,
        NAME,
        tmp_path_factory.mktemp("dynamic") / "models",
        class_names=CLASS_NAMES,
        calibration=calibration,
    )


@pytest.mark.slow
def test_warmup_runs_every_path_with_every_batch_size(exported):
    logs = list(read_warmup(exported.path))
    assert len(logs) == exported.checks.requests == (3 + 3) * len(BATCH_SIZES)
    with SavedModelSession(exported.path) as session:
        found = [execute(session, log).get("exit") for log in logs]
    forced = [
        set(exits)
        for exits, log in zip(found, logs, strict=True)
        if log.predict_log.request.model_spec.signature_name == "with_thresholds"
    ]
    assert forced == [{0}, {1}, {2}] * len(BATCH_SIZES)


@pytest.mark.slow
def test_each_path_says_what_keras_says(exported, exits):
    images = np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3)).astype(np.float32)
    with SavedModelSession(exported.path) as session:
        signature = session.signature_defs["with_thresholds"]
        for step, reference in enumerate(references([exits])):
            feeds = {"images": images, "thresholds": forcing(step, 3)}
            logits, exit_numbers = session.run(
                {signature.inputs[key].name: value for key, value in feeds.items()},
                [signature.outputs[key].name for key in ("logits", "exit")],
            )
            assert set(exit_numbers) == {step}
            expected = reference.outputs(images)["logits"]
            np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_the_stand_in_the_client_and_the_load_test_know_who_answered(exported, tmp_path, capsys):
    (tmp_path / "monitoring.txt").write_text('prometheus_config { enable: true path: "/metrics" }')
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(jpeg())
    with running(
        model_base_path=str(exported.path.parent),
        model_name=NAME,
        monitoring_config_file=str(tmp_path / "monitoring.txt"),
    ) as target:
        for address in (target.grpc, f"http://{target.rest}"):
            server = [f"--server={address}", f"--model={NAME}"]
            assert call(client_command, [*server, picture]) == 0
            assert "picture.jpg  (exit " in capsys.readouterr().out
            load = [f"--images={picture}", "--rate=max", "--duration=1", "--warmup=0.1"]
            assert call(load_test, [*server, *load, "--concurrency=1"]) == 0
            assert "pictures, 100.0 %" in capsys.readouterr().out
        with urllib.request.urlopen(f"http://{target.rest}/metrics", timeout=20) as response:
            text = response.read().decode()
    assert f':stand_in_exit_bucket{{le="2.0",model="{NAME}"}}' in text
    counted = next(line for line in text.splitlines() if "stand_in_exit_count" in line)
    assert float(counted.split()[-1]) >= 4


def test_half_precision_and_steps_do_not_go_together(exits, tmp_path):
    calibration = Calibration((1.0, 1.0), (0.5, 0.5), 0.01, 0.1, 1000, ())
    with pytest.raises(ValueError, match="is served in float32"):
        export(exits, NAME, tmp_path, calibration=calibration, precision="bfloat16")
    assert not list(tmp_path.rglob("saved_model.pb"))
