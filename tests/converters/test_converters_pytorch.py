"""The commands that convert PyTorch checkpoints: files in, files out, and nothing half-written."""

import itertools
import os
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import levit_tf
from converters import from_pytorch, to_dynamic, to_hub, to_pytorch, to_saved_model
from converters.pytorch import to_keras
from levit_common import cli
from levit_common.files import atomic_path
from levit_tf.weights import pytorch_recognition, pytorch_weights
from levit_tf.weights.pytorch_weights import to_state_dict
from serving.web_app import __main__ as web_app
from tests.support import references
from tests.support.cases import slow
from tests.support.commands import call
from tests.support.randomize import random_images, randomize_keras, randomize_torch

torch = pytest.importorskip("torch")
CLASSES = 7
# Of each codebase, each kind of heads and each kind of file there is one.
FAST_TRIPS = [("timm", True, ".safetensors")]
IMAGES = random_images((64, 64), 2)


def nano(**kwargs):
    kwargs = {"classes": CLASSES, **kwargs}
    return levit_tf.LeViT("LeViTNano", input_shape=(64, 64, 3), **kwargs)


@pytest.fixture(scope="module")
def trained():
    model = nano()
    randomize_keras(model)
    return model


@pytest.fixture
def checkpoint(trained, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(to_state_dict(trained, "timm"), path)
    return path


def reference_for(flavour, distilled):
    if flavour == "official":
        if not references.OFFICIAL_REPO:
            pytest.skip("LEVIT_OFFICIAL_REPO names no checkout of the official repository")
        return references.official_reference("LeViT128S", distilled)
    if flavour == "hf":
        return references.hf_reference("LeViTNano", 64, distilled, num_labels=CLASSES)
    return references.timm_reference(
        "LeViTNano", (64, 64), flavour == "timm_conv", distilled=distilled, num_classes=CLASSES
    )


@pytest.mark.parametrize(
    ("flavour", "distilled", "suffix"),
    [
        case if case in FAST_TRIPS else slow(*case)
        for case in itertools.product(
            ("timm", "timm_conv", "hf"), (True, False), (".safetensors", ".pth")
        )
    ],
)
def test_a_reference_survives_the_trip_to_keras_and_back(tmp_path, flavour, distilled, suffix):
    reference = reference_for(flavour, distilled)
    randomize_torch(reference.module, (64, 64))
    images = np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2))
    expected = reference.forward(images)["logits"]
    torch.save(reference.module.state_dict(), tmp_path / "in.bin")

    report = from_pytorch.convert(tmp_path / "in.bin", tmp_path / "m.keras")
    assert report.info.flavour == flavour
    state = to_pytorch.convert(tmp_path / "m.keras", tmp_path / f"out{suffix}", flavour)

    fresh = reference_for(flavour, distilled)
    if suffix == ".pth":
        loaded = torch.load(tmp_path / "out.pth", weights_only=True)
    else:
        arrays = load_file(tmp_path / "out.safetensors")
        loaded = {key: torch.from_numpy(array) for key, array in arrays.items()}
    assert set(loaded) == set(state)
    fresh.module.load_state_dict(loaded, strict=True)
    np.testing.assert_array_equal(fresh.forward(images)["logits"], expected)


def test_the_official_code_loads_what_is_written_for_it(tmp_path):
    reference = reference_for("official", True)
    model = levit_tf.LeViT("LeViT128S", classifier_activation=None)
    randomize_keras(model)
    model.save(tmp_path / "m.keras")
    to_pytorch.convert(tmp_path / "m.keras", tmp_path / "out.pth", "official")
    content = torch.load(tmp_path / "out.pth", weights_only=True)
    reference.module.load_state_dict(content["model"], strict=True)
    reference.module.train()
    reference.module.eval()  # drops the expanded biases that evaluation mode has cached
    images = random_images((224, 224), 2)
    expected = keras.ops.convert_to_numpy(model(images, training=False))
    found = reference.forward(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))["logits"]
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.slow
def test_another_size_other_classes_and_heads(tmp_path, checkpoint):
    output = tmp_path / "m.keras"
    report = from_pytorch.convert(
        checkpoint, output, input_size=(64, 128), classes=3, heads="both", model="levit_nano"
    )
    model = keras.models.load_model(output)
    assert model.input_shape == (None, 64, 128, 3)
    shapes = {name: tuple(output.shape) for name, output in model.output.items()}
    assert shapes == {"head": (None, 3), "head_dist": (None, 3)}
    assert len(report.resized) == 6
    assert len(report.initialised) == 12


def test_single_head_of_a_checkpoint_with_two(tmp_path, checkpoint):
    report = from_pytorch.convert(checkpoint, tmp_path / "m.keras", heads="single")
    assert len(report.dropped) == 6


def test_the_output_is_not_replaced_unasked(tmp_path, checkpoint):
    output = tmp_path / "m.keras"
    output.write_text("precious")
    with pytest.raises(FileExistsError, match="--overwrite"):
        from_pytorch.convert(checkpoint, output)
    assert output.read_text() == "precious"
    from_pytorch.convert(checkpoint, output, overwrite=True)
    assert keras.models.load_model(output).name == "LeViTNano"
    with pytest.raises(FileExistsError, match="--overwrite"):
        to_pytorch.convert(output, checkpoint)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "LeViT999"}, "Unknown LeViT variant 'LeViT999'"),
        slow({"model": "LeViT256"}, "does not fit LeViT256"),
        ({"input_size": (100, 100)}, "multiple of the stem's"),
        ({"classes": 0}, "classes must be a positive integer. Received: 0"),
        ({"heads": "three"}, "heads must be one of"),
        ({"checkpoint_size": (64, 96)}, "of another shape"),
    ],
)
def test_bad_arguments_leave_nothing_behind(tmp_path, checkpoint, arguments, message):
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(ValueError, match=message):
        from_pytorch.convert(checkpoint, tmp_path / "m.keras", **arguments)
    assert sorted(os.listdir(tmp_path)) == before


def test_outputs_of_an_unknown_suffix(tmp_path, checkpoint):
    with pytest.raises(ValueError, match=r"--output: .* ending in \.keras"):
        from_pytorch.convert(checkpoint, tmp_path / "m.h5")
    with pytest.raises(ValueError, match=r"--output: .* \.safetensors, \.pth"):
        to_pytorch.convert(tmp_path / "m.keras", tmp_path / "m.onnx")


def test_a_headless_checkpoint_needs_classes(tmp_path, trained):
    state = to_state_dict(trained, "timm")
    save_file({k: v for k, v in state.items() if "head" not in k}, tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match="has no classification head"):
        from_pytorch.convert(tmp_path / "c.safetensors", tmp_path / "m.keras")
    report = from_pytorch.convert(tmp_path / "c.safetensors", tmp_path / "m.keras", classes=3)
    assert report.initialised


@pytest.mark.parametrize("kind", ["missing", "truncated", slow("fused")])
def test_bad_models_for_the_way_back(tmp_path, trained, kind):
    path = tmp_path / "m.keras"
    if kind == "fused":
        levit_tf.fuse(trained).save(path)
    elif kind == "truncated":
        trained.save(path)
        path.write_bytes(path.read_bytes()[:5000])
    expected = FileNotFoundError if kind == "missing" else ValueError
    with pytest.raises(expected, match=r"m\.keras"):
        to_pytorch.convert(path, tmp_path / "out.pth")
    assert not (tmp_path / "out.pth").exists()


def test_the_commands(tmp_path, checkpoint, run_command):
    output = tmp_path / "m.keras"
    done = run_command(
        "converters.from_pytorch", f"--checkpoint={checkpoint}", f"--output={output}"
    )
    assert done.returncode == 0, done.stderr
    assert "timm naming, LeViTNano" in done.stdout
    assert "copied: 168 variables" in done.stdout
    done = run_command(
        "converters.to_pytorch", f"--model={output}", f"--output={tmp_path}/o.pth", "--format=hf"
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o.pth").exists()


def test_a_users_error_is_one_line_and_exit_code_1(tmp_path, capsys):
    arguments = [f"--checkpoint={tmp_path}/no.pth", f"--output={tmp_path}/m.keras"]
    assert call(from_pytorch, arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path}/no.pth: no such file.")


@pytest.mark.slow
def test_a_checkpoint_of_a_training_script_is_recognised_and_that_is_said(
    trained, tmp_path, capsys
):
    state = to_state_dict(trained, "timm")
    tensors = {f"module.{key}": torch.from_numpy(np.array(a)) for key, a in state.items()}
    average = {key: tensor * 2 for key, tensor in tensors.items()}
    content = {"model": average, "model_ema": tensors, "optimizer": {}, "epoch": 3}
    torch.save(content, tmp_path / "checkpoint.pth")
    report = from_pytorch.convert(
        tmp_path / "checkpoint.pth", tmp_path / "ema.keras", checkpoint_key="model_ema"
    )
    assert "removed the prefix 'module.'; took 'model_ema' of the file" in str(report)
    model = keras.models.load_model(tmp_path / "ema.keras")
    for one, other in zip(model.weights, trained.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    report = from_pytorch.convert(tmp_path / "checkpoint.pth", tmp_path / "raw.keras")
    assert "took 'model' of the file, not 'model_ema' (--checkpoint_key=model_ema)" in str(report)


def test_a_checkpoint_is_recognised_once(tmp_path, checkpoint, monkeypatch):
    asked = []
    recognise = pytorch_recognition.recognise

    def counted(*args, **kwargs):
        asked.append(kwargs["source"])
        return recognise(*args, **kwargs)

    for module in (to_keras, pytorch_weights):
        monkeypatch.setattr(module, "recognise", counted)
    from_pytorch.convert(checkpoint, tmp_path / "out.keras")
    assert len(asked) == 1


def test_a_head_outside_the_backbone_is_said_to_be_left_out(trained, tmp_path):
    state = to_state_dict(trained, "timm")
    inner = {f"backbone.{k}": v for k, v in state.items() if not k.startswith("head")}
    save_file({**inner, "head.weight": np.zeros((7, 3), "f4")}, tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match=r"no classification head.*'backbone\.'.*: head\.weight"):
        from_pytorch.convert(tmp_path / "c.safetensors", tmp_path / "out.keras")
    assert not (tmp_path / "out.keras").exists()


@pytest.mark.parametrize(
    ("text", "size"), [("224", (224, 224)), ("224x320", (224, 320)), (" 64X32 ", (64, 32))]
)
def test_sizes_are_height_by_width(text, size):
    assert cli.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "224x", "x3", "-2", "1x2x3", "12.5", "0x4"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match="HEIGHTxWIDTH"):
        cli.parse_size(text)


def test_atomic_directories_replace_and_vanish(tmp_path):
    target = tmp_path / "export"
    for content in ("first", "second"):
        with atomic_path(target, overwrite=True, made_of=["mark"]) as temporary:
            os.mkdir(temporary)
            for name in (content, "mark"):
                Path(temporary, name).touch()
    assert sorted(os.listdir(target)) == ["mark", "second"]

    def fail():
        with atomic_path(target, overwrite=True, made_of=["mark"]) as temporary:
            os.mkdir(temporary)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert sorted(os.listdir(target)) == ["mark", "second"]
    assert os.listdir(tmp_path) == ["export"]


@pytest.mark.parametrize(
    ("content", "output", "message"),
    [
        (["log.csv"], "run", "run: --overwrite does not delete .* other files, and no mark"),
        (["mark", "best.keras"], "run", "it contains run/best.keras, which is read"),
        (["mark", "best.keras"], ".", "this command runs in it"),
        (["mark"], "..", "this command runs in it"),
        (["mark"], "run/mark", "is a file, which is not what would replace it"),
    ],
)
def test_folders_with_other_content_are_not_deleted(
    content, output, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    for name in content:
        Path("run", name).touch()
    with (
        pytest.raises(FileExistsError, match=message),
        atomic_path(
            output, overwrite=True, made_of=["mark"], reads=[f"run/{name}" for name in content[1:]]
        ),
    ):
        pytest.fail("the block runs")
    assert sorted(os.listdir("run")) == sorted(content)


def test_a_folder_that_is_filled_meanwhile_is_not_deleted(tmp_path):
    def write():
        with atomic_path(tmp_path / "export", made_of=["mark"]) as temporary:
            os.mkdir(temporary)
            (tmp_path / "export").mkdir()
            (tmp_path / "export" / "precious").touch()

    with pytest.raises(FileExistsError, match="other files"):
        write()
    assert os.listdir(tmp_path / "export") == ["precious"]


def test_an_empty_folder_is_replaced(tmp_path):
    (tmp_path / "export").mkdir()
    with atomic_path(tmp_path / "export", overwrite=True, made_of=["mark"]) as temporary:
        os.mkdir(temporary)
        Path(temporary, "mark").touch()
    assert os.listdir(tmp_path / "export") == ["mark"]


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (to_saved_model, ["--model=run/model.keras"]),
        (to_dynamic, ["--models=run/model.keras", "--calibration=imagefolder:pictures"]),
        (to_hub, ["--model=run/model.keras", "--name=me/flowers"]),
        (web_app, ["--model=run/model.keras"]),
    ],
    ids=["to_saved_model", "to_dynamic", "to_hub", "web_app"],
)
def test_commands_do_not_delete_the_folder_of_their_model(
    command, arguments, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    Path("run/model.keras").touch()
    assert call(command, [*arguments, "--output=run", "--overwrite"]) == 1
    assert "it contains run/model.keras, which is read" in capsys.readouterr().err
    assert Path("run/model.keras").exists()


def test_a_file_does_not_replace_a_directory(tmp_path):
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "precious").touch()

    def write():
        with atomic_path(tmp_path / "export", overwrite=True) as temporary:
            open(temporary, "w").close()

    with pytest.raises(FileExistsError, match="is a directory"):
        write()
    assert os.listdir(tmp_path / "export") == ["precious"]


def test_atomic_files_are_as_readable_as_others(tmp_path):
    (tmp_path / "other").touch()
    with atomic_path(tmp_path / "private") as temporary:
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
    assert (tmp_path / "private").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("value", [np.inf, slow(np.nan)])
def test_weights_that_are_no_numbers_are_not_written(tmp_path, value):
    model = nano()
    kernel = next(v for v in model.weights if v.path.endswith("kernel"))
    changed = np.array(kernel)
    changed.flat[3] = value
    kernel.assign(changed)
    model.save(tmp_path / "model.keras")
    output = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match=r"model\.keras: weights that are NaN or"):
        to_pytorch.convert(tmp_path / "model.keras", output)
    assert not output.exists()
