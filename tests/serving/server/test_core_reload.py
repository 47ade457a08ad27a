"""The configuration of models: policies, labels, and what replaces it while requests come."""

import os
import shutil

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc import StatusCode
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus as Status

from tests.support.serving.serving_cases import (
    MODEL,
    POLL,
    base_with_one_version,
    eventually,
    refusal,
    reload_request,
    running,
    serve_watched,
)
from tests.support.serving.serving_models import copy_version

X = {"x": np.float32([2, 4])}


@pytest.fixture
def base(tmp_path):
    """A model's folder with version 1."""
    return base_with_one_version(tmp_path)


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("latest { num_versions: 2 }", {3, 2}),
        ("all {}", {3, 2, 1}),
        ("specific { versions: 1 versions: 3 }", {3, 1}),
        ("", {3}),
    ],
)
def test_the_version_policy_chooses_what_is_served(base, tmp_path, policy, served):
    for version in ("2", "3"):
        copy_version(base / "1", base / version)
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "{MODEL}" base_path: "{base}" '
        f'model_platform: "tensorflow" model_version_policy {{ {policy} }} }} }}'
    )
    with running(model_config_file=str(config)) as target:
        eventually(lambda: set(target.states()) == served)
        eventually(lambda: set(target.states().values()) == {Status.AVAILABLE})
        assert target.predict(X).model_spec.version.value == 3


def test_labels_name_served_versions_and_can_be_moved(base):
    copy_version(base / "1", base / "2")
    request = reload_request(**{MODEL: base})
    config = request.config.model_config_list.config[0]
    config.model_version_policy.all.SetInParent()
    with serve_watched(base) as target:
        target.models.HandleReloadConfigRequest(request, 20)
        eventually(lambda: target.states() == {2: Status.AVAILABLE, 1: Status.AVAILABLE})
        for stable in (1, 2):
            config.version_labels["stable"] = stable
            target.models.HandleReloadConfigRequest(request, 20)
            found = target.predict(X, version_label="stable").model_spec.version.value
            assert found == stable
        config.version_labels["stable"] = 7
        assert refusal(target.models.HandleReloadConfigRequest, request, 20) == (
            StatusCode.FAILED_PRECONDITION,
            f"Request to assign label to version 7 of model {MODEL}, which is not currently "
            f"available for inference",
        )
        assert target.predict(X, version_label="stable").model_spec.version.value == 2


def test_labels_of_versions_to_come_need_a_flag(base, tmp_path):
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "{MODEL}" base_path: "{base}" model_platform: '
        f'"tensorflow" version_labels {{ key: "stable" value: 1 }} }} }}'
    )
    from serving.server.errors import ServingError

    with (
        pytest.raises(ServingError, match="not currently available"),
        running(model_config_file=str(config)),
    ):
        pass
    with running(
        model_config_file=str(config), allow_version_labels_for_unavailable_models=True
    ) as target:
        assert target.predict(X, version_label="stable").model_spec.version.value == 1


def test_a_reload_replaces_the_whole_configuration(base):
    with serve_watched(base) as target:
        response = target.models.HandleReloadConfigRequest(reload_request(a=base, b=base), 20)
        assert response.status.error_code == 0
        for name in "ab":
            assert target.predict(X, name=name).model_spec.name == name
        assert refusal(target.predict, X)[0] == StatusCode.NOT_FOUND
        eventually(lambda: target.states() == {1: Status.END})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{ name: "a" base_path: "b" model_platform: "tensorflow" }', "an absolute path"),
        ('{ name: "a" base_path: "/b" }', "Illegal setting neither"),
        ('{ name: "a" base_path: "/b" model_platform: "x" }', "unsupported platform x"),
        (
            '{ name: "a" base_path: "/b" model_platform: "tensorflow" } '
            'config { name: "a" base_path: "/c" model_platform: "tensorflow" }',
            "Illegal to list model a multiple times",
        ),
    ],
)
def test_a_reload_that_breaks_a_rule_changes_nothing(base, text, message):
    from google.protobuf import text_format

    request = reload_request()
    text_format.Parse(f"config {text}", request.config.model_config_list)
    with serve_watched(base) as target:
        code, found = refusal(target.models.HandleReloadConfigRequest, request, 20)
        assert code == StatusCode.INVALID_ARGUMENT
        assert message in found
        assert refusal(target.models.HandleReloadConfigRequest, type(request)(), 20)[0] == (
            StatusCode.INVALID_ARGUMENT
        )
        assert target.predict(X).model_spec.version.value == 1


def test_a_reload_tells_that_a_model_does_not_load(base, tmp_path):
    (tmp_path / "broken" / "1").mkdir(parents=True)
    request = reload_request(**{MODEL: base, "broken": tmp_path / "broken"})
    with serve_watched(base) as target:
        code, message = refusal(target.models.HandleReloadConfigRequest, request, 20)
        assert code == StatusCode.UNKNOWN
        assert message.startswith("1 model(s) did not become available: {{{name: broken")
        assert str(tmp_path) not in message
        assert target.predict(X).model_spec.version.value == 1


def test_each_reload_tells_its_own_result(base, tmp_path):
    (tmp_path / "broken" / "1").mkdir(parents=True)
    request = reload_request(**{MODEL: base, "broken": tmp_path / "broken"})
    with serve_watched(base) as target:
        for _ in range(3):
            code, message = refusal(target.models.HandleReloadConfigRequest, request, 20)
            assert (code, "broken" in message) == (StatusCode.UNKNOWN, True)
        shutil.copytree(base / "1", tmp_path / "broken" / "1", dirs_exist_ok=True)
        target.models.HandleReloadConfigRequest(request, 20)
        assert target.predict(X, name="broken").model_spec.version.value == 1
        target.models.HandleReloadConfigRequest(request, 20)


@pytest.mark.parametrize("file", ["saved_model.pb", "variables/variables.index", "anything"])
def test_a_fifo_in_a_version_is_refused_and_blocks_nobody(base, tmp_path, file):
    copy_version(base / "1", tmp_path / "fifo" / "1")
    path = tmp_path / "fifo" / "1" / file
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with serve_watched(base) as target:
        for _ in range(2):
            request = reload_request(**{MODEL: base, "fifo": tmp_path / "fifo"})
            code, message = refusal(target.models.HandleReloadConfigRequest, request, 20)
            assert code == StatusCode.UNKNOWN
            assert f"fifo/1/{file}: expected a regular file. Found: a pipe" in message
            assert str(tmp_path) not in message
        # The loader is free for others.
        target.models.HandleReloadConfigRequest(reload_request(other=base), 20)
        assert target.predict(X, name="other").model_spec.version.value == 1


def test_a_device_in_a_version_is_refused_and_links_to_files_are_not(base, tmp_path):
    linked = tmp_path / "linked" / "1"
    linked.mkdir(parents=True)
    for name in ("saved_model.pb", "variables"):
        (linked / name).symlink_to(base / "1" / name)
    with serve_watched(base) as target:
        request = reload_request(linked=tmp_path / "linked")
        target.models.HandleReloadConfigRequest(request, 20)
        assert target.predict(X, name="linked").model_spec.version.value == 1
        copy_version(base / "1", tmp_path / "device" / "1")
        (tmp_path / "device" / "1" / "zeros").symlink_to("/dev/zero")
        request = reload_request(device=tmp_path / "device")
        _, message = refusal(target.models.HandleReloadConfigRequest, request, 20)
        assert "device/1/zeros: expected a regular file. Found: a device" in message


@pytest.mark.parametrize("kind", [tf.numpy_function, tf.py_function])
def test_a_model_that_calls_python_is_refused_in_a_line(base, tmp_path, kind):
    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def double(self, x):
            return {"y": kind(lambda value: value * 2, [x], tf.float32)}

    model = Model()
    path = str(tmp_path / "python" / "1")
    tf.saved_model.save(model, path, signatures={"serving_default": model.double})
    with serve_watched(base) as target:
        request = reload_request(**{MODEL: base, "python": tmp_path / "python"})
        code, message = refusal(target.models.HandleReloadConfigRequest, request, 20)
    assert code == StatusCode.UNKNOWN
    assert "PyFunc (in function" in message
    assert "--trust_models" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("trusted", [False, True])
def test_a_model_that_writes_files_is_served_only_where_models_are_trusted(tmp_path, trusted):
    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def write(self, x):
            with tf.control_dependencies([tf.io.write_file(str(tmp_path / "written"), "x")]):
                return {"y": 2 * x}

    model = Model()
    tf.saved_model.save(model, str(tmp_path / "m" / "1"), signatures=model.write)
    served = running(
        model_base_path=str(tmp_path / "m"),
        model_name=MODEL,
        max_num_load_retries=0,
        trust_models=trusted,
    )
    if trusted:
        with served as target:
            target.predict(X)
        assert (tmp_path / "written").exists()
    else:
        with pytest.raises(Exception, match=r"WriteFile \(in function.*--trust_models"), served:
            pass
        assert not (tmp_path / "written").exists()


def test_a_reload_does_not_wait_for_a_folder_that_is_not_there(base, tmp_path):
    request = reload_request(**{MODEL: base, "later": tmp_path / "later"})
    with serve_watched(base) as target:
        code, message = refusal(target.models.HandleReloadConfigRequest, request, 20)
        assert code == StatusCode.UNKNOWN
        assert "There is no version in its folder." in message
        copy_version(base / "1", tmp_path / "later" / "1")
        eventually(lambda: _serves(target, "later"))


def _line(name, base):
    return (
        f'model_config_list {{ config {{ name: "{name}" base_path: "{base}" '
        f'model_platform: "tensorflow" }} }}'
    )


def _put(config, text):
    """Replaces models.config; a server that looks at it never sees a part of it."""
    temporary = config.with_suffix(".new")
    temporary.write_text(text)
    temporary.replace(config)


@pytest.mark.parametrize(
    ("text", "message"),
    [("no configuration {", "Error parsing"), ("", "Cannot transition"), ("# a", "Cannot trans")],
)
def test_models_config_is_looked_at_again(base, tmp_path, text, message, caplog):
    config = tmp_path / "models.config"
    config.write_text(_line("a", base))
    with running(
        model_config_file=str(config),
        model_config_file_poll_wait_seconds=POLL,
        file_system_poll_wait_seconds=POLL,
    ) as target:
        _put(config, text)
        eventually(lambda: "The models stay as they are: " in caplog.text)
        assert message in caplog.text
        assert target.predict(X, name="a").model_spec.name == "a"
        _put(config, _line("b", base))
        eventually(lambda: _serves(target, "b"))
        eventually(lambda: not _serves(target, "a"))


def test_an_empty_models_config_at_the_start_waits_for_one_with_models(base, tmp_path):
    config = tmp_path / "models.config"
    config.write_text("")
    with running(model_config_file=str(config), model_config_file_poll_wait_seconds=POLL) as target:
        assert not _serves(target, "a")
        _put(config, _line("a", base))
        eventually(lambda: _serves(target, "a"))


def test_the_log_tells_that_a_configuration_is_in_force_though_a_model_does_not_load(
    base, tmp_path, caplog
):
    (tmp_path / "broken" / "1").mkdir(parents=True)
    config = tmp_path / "models.config"
    config.write_text(_line("a", base))
    with running(
        model_config_file=str(config),
        model_config_file_poll_wait_seconds=POLL,
        max_num_load_retries=0,
    ) as target:
        _put(config, _line("broken", tmp_path / "broken"))
        eventually(lambda: "The new models.config is in force, but: 1 model(s)" in caplog.text)
        assert not _serves(target, "a")
    assert "stay as they are" not in caplog.text


def _serves(target, name):
    try:
        return target.predict(X, name=name)
    except grpc.RpcError:
        return None
