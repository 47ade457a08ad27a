"""Commands that are printed or written down survive being pasted, whatever folders are called."""

import re
import subprocess

import keras
import pytest

from converters.qat.qat_model import load_quantized
from levit_tf.weights.checkpoint_wrappers import find_state
from levit_tf.weights.keras_files import ModelFileError
from serving.export.deployment import (
    docker_command,
    server_command,
    server_flags,
    stand_in_command,
    write_deployment,
)

# A space, both quotes, what shells and Compose replace, and what CSV and YAML separate by.
NAME = """Anna's "models", $HOME: 1 #2"""


def pasted(command):
    """The arguments that a shell makes of a command."""
    script = f"set -- {command}\nprintf '%s\\0' \"$@\""
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / NAME
    folder.mkdir()
    return folder


def test_the_lines_that_start_servers_arrive_as_they_are_meant(repository):
    base = str(repository)
    flags = server_flags(base, 4)
    assert flags[0] == f"--model_config_file={base}/models.config"
    assert pasted(server_command(base, 4))[-len(flags) :] == flags
    stand_in = pasted(stand_in_command(repository, base, "levit"))
    assert stand_in[:3] == ["python", "-m", "serving.server"]
    assert f"--model_config_file={base}/models.config" in stand_in
    docker = pasted(docker_command(repository, base, 4))
    assert docker[:3] == ["docker", "run", "--rm"]
    assert docker[-len(flags) :] == flags
    # Docker reads it as a line of CSV, in which quotes are doubled.
    quoted = base.replace('"', '""')
    assert docker[docker.index("--mount") + 1] == (
        f'type=bind,"source={quoted}","target={quoted}",readonly'
    )


def test_the_notes_hold_the_same_lines(repository):
    base = str(repository)
    write_deployment(repository, base)
    blocks = re.findall(r"```sh\n(.*?)```", (repository / "SERVING.md").read_text(), re.DOTALL)
    expected = [docker_command(repository, base, 1), server_command(base, 1)]
    for block, command in zip(blocks, expected, strict=False):
        parts = [pasted(text.strip()) for text in (block, command)]
        assert parts[0][:-1] == parts[1][:-1]  # the last is the number of cores


def test_the_stand_in_starts_where_the_config_has_the_paths_of_another_machine(repository):
    write_deployment(repository, "/models")
    notes = (repository / "SERVING.md").read_text()
    (block,) = re.findall(r"```sh\n(python -m serving.server.*?)```", notes, re.DOTALL)
    assert pasted(block.strip())[-2:] == [
        "--model_name=NAME",
        f"--model_base_path={repository}/NAME",
    ]


def test_compose_mounts_the_folder_and_replaces_no_variables(repository):
    yaml = pytest.importorskip("yaml")
    write_deployment(repository, f"/{NAME}")
    content = yaml.safe_load((repository / "docker-compose.yml").read_text())
    service = content["services"]["serving"]

    def composed(text):
        assert not re.search(r"(?<!\$)\$(\$\$)*(?!\$)", text)
        return text.replace("$$", "$")

    (volume,) = service["volumes"]
    assert composed(volume["source"]) == str(repository)
    assert composed(volume["target"]) == f"/{NAME}"
    assert composed(service["command"][0]) == f"--model_config_file=/{NAME}/models.config"


def test_advice_names_files_so_that_it_can_be_pasted(repository):
    path = repository / "model.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]).save(path)
    with pytest.raises(ModelFileError) as raised:
        load_quantized(path)
    command = re.search(r"To train it: (.*)\. Without", str(raised.value), re.DOTALL)[1]
    assert pasted(command)[-1] == f"--set=init_from={path}"
    with pytest.raises(ValueError, match="Choose with") as raised:
        find_state({NAME: {"a.b": 1}, "x": {"a.b": 1}}, lambda value: value == 1, "file")
    command = re.search(r"Choose with (.*)\.", str(raised.value), re.DOTALL)[1]
    assert pasted(command) == [f"--checkpoint_key={NAME}"]
