"""Checkpoint files: what is read, and what each kind of bad file says."""

import argparse
import builtins
import os
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from levit_tf.weights.checkpoint_files import read_checkpoint

torch = pytest.importorskip("torch")
WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def state():
    return {"a.weight": torch.from_numpy(WEIGHT), "a.count": torch.tensor(3)}


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
def test_state_dicts_are_unwrapped(tmp_path, state, wrapper):
    content = {wrapper: state, "epoch": 3} if wrapper else state
    torch.save(content, tmp_path / "c.pth")
    found = read_checkpoint(tmp_path / "c.pth")
    np.testing.assert_array_equal(found["a.weight"], WEIGHT)
    assert found["a.count"] == 3


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        ({"state_dict": "A", "state_dict_ema": "B", "arch": "levit"}, "state_dict"),
        ({"model_ema": "B", "model": "A", "optimizer": {"state": {0: {"x.y": "B"}}}}, "model"),
        ({"model": {"state_dict": "A"}, "epoch": 3}, "model/state_dict"),
        (  # Lightning's
            {
                "epoch": 3,
                "pytorch-lightning_version": "2.5",
                "state_dict": "A",
                "loops": {"fit_loop": {"state_dict": {}}},
                "callbacks": {"ModelCheckpoint{'a'}": {"best_k_models": {"x.ckpt": "B"}}},
                "optimizer_states": [{"state": {0: {"exp_avg": "B"}}}],
                "hyper_parameters": {"lr": 0.1},
            },
            "state_dict",
        ),
        ({"ema": {"module": "A", "decay": 0.9}, "epoch": 3}, "ema/module"),
        ({"weights_of_mine": "A", "scaler": {"a.b": "B"}, "criterion": {"a.b": "B"}}, "weights_o"),
    ],
)
def test_the_trained_weights_are_found_beside_averages_and_optimisers_and_named(
    tmp_path, state, content, taken
):
    other = {"a.weight": torch.zeros(2, 3), "a.count": torch.tensor(4)}

    def filled(value):
        if isinstance(value, dict):
            return {key: filled(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [filled(inner) for inner in value]
        return {"A": state, "B": other}.get(value, value)

    torch.save(filled(content), tmp_path / "c.pth")
    found = read_checkpoint(tmp_path / "c.pth")
    np.testing.assert_array_equal(found["a.weight"], WEIGHT)
    (note,) = found.notes
    assert note.startswith(f"took '{taken}")
    averages = [key for key in content if "ema" in key and key != "ema"]
    assert ("--checkpoint_key=" in note) == bool(averages)
    for key in averages:
        assert f"not '{key}' (--checkpoint_key={key})" in note
        assert read_checkpoint(tmp_path / "c.pth", key)["a.count"] == 4


def test_several_networks_without_a_usual_name_are_for_the_user_to_choose_from(tmp_path, state):
    torch.save({"red": state, "blue": state}, tmp_path / "c.pth")
    with pytest.raises(ValueError, match=r"several state dicts: red, blue.*--checkpoint_key=red"):
        read_checkpoint(tmp_path / "c.pth")
    assert read_checkpoint(tmp_path / "c.pth", "blue").notes == ("took 'blue' of the file",)
    with pytest.raises(ValueError, match=r"--checkpoint_key=green names no .*Found: red, blue"):
        read_checkpoint(tmp_path / "c.pth", "green")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_key_may_be_a_prefix(tmp_path, suffix):
    arrays = {"student.a.w": WEIGHT, "teacher.a.w": 2 * WEIGHT}
    if suffix == "pth":
        tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
        torch.save({"state_dict": tensors}, tmp_path / "c.pth")
    else:
        save_file(arrays, tmp_path / "c.safetensors")
    found = read_checkpoint(tmp_path / f"c.{suffix}", "teacher")
    assert list(found) == ["a.w"]
    np.testing.assert_array_equal(found["a.w"], 2 * WEIGHT)
    (note,) = found.notes
    assert note.startswith("took the 1 keys with the prefix 'teacher.'")


def test_flags_of_the_official_training_script_do_no_harm(tmp_path, state):
    torch.save({"model": state, "args": argparse.Namespace(lr=5e-4)}, tmp_path / "c.pth")
    assert set(read_checkpoint(tmp_path / "c.pth")) == set(state)


def test_pickles_from_before_torch_1_6_are_read(tmp_path, state):
    torch.save(state, tmp_path / "c.bin", _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(read_checkpoint(tmp_path / "c.bin")["a.weight"], WEIGHT)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
def test_safetensors_of_any_precision_come_back_as_float32(tmp_path, dtype):
    save_file({"w": WEIGHT.astype(dtype)}, tmp_path / "c.safetensors")
    found = read_checkpoint(tmp_path / "c.safetensors")["w"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, WEIGHT)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_pickles_of_any_precision_come_back_as_float32(tmp_path, dtype):
    torch.save({"w": torch.from_numpy(WEIGHT).to(dtype)}, tmp_path / "c.pth")
    assert read_checkpoint(tmp_path / "c.pth")["w"].dtype == np.float32


def test_the_content_decides_not_the_suffix(tmp_path, state):
    torch.save(state, tmp_path / "c.safetensors")
    assert "a.weight" in read_checkpoint(tmp_path / "c.safetensors")
    save_file({"w": WEIGHT}, tmp_path / "c.pth")
    assert "w" in read_checkpoint(tmp_path / "c.pth")


def test_neither_needs_torch_for_safetensors_nor_goes_without_it_for_a_pickle(
    tmp_path, state, monkeypatch
):
    torch.save(state, tmp_path / "c.pth")
    save_file({"w": WEIGHT}, tmp_path / "c.safetensors")
    real_import = builtins.__import__

    def no_torch(name, *args, **kwargs):
        if name.split(".")[0] == "torch":
            raise ImportError("No module named 'torch'")
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_torch)
    assert "w" in read_checkpoint(tmp_path / "c.safetensors")
    with pytest.raises(ImportError, match=r'c\.pth: .* pip install "levit_tf\[torch\]"'):
        read_checkpoint(tmp_path / "c.pth")


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_checkpoint(tmp_path / "c.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html>\n<title>404</title>", "a text file or a page"),
        (b"\x00\x01\x02\x03" * 100, "neither a zip archive nor a pickle nor safetensors"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    ],
)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_files_of_another_kind(tmp_path, content, message, suffix):
    path = write(tmp_path / f"c.{suffix}", content)
    with pytest.raises(ValueError, match=message) as raised:
        read_checkpoint(path)
    assert str(path) in str(raised.value)
    assert "Expected a PyTorch checkpoint" in str(raised.value)


def test_a_directory(tmp_path):
    with pytest.raises(ValueError, match="a directory"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("kept", [0.2, 0.9])
def test_a_truncated_zip(tmp_path, state, kept):
    torch.save(state, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    path = write(tmp_path / "c.pth", whole[: int(kept * len(whole))])
    with pytest.raises(ValueError, match="truncated or damaged zip archive"):
        read_checkpoint(path)


@pytest.mark.parametrize("kept", [12, -1])
def test_truncated_safetensors(tmp_path, kept):
    save_file({"w": WEIGHT}, tmp_path / "whole.safetensors")
    whole = (tmp_path / "whole.safetensors").read_bytes()
    path = write(tmp_path / "c.safetensors", whole[:kept])
    with pytest.raises(ValueError, match="truncated or damaged safetensors"):
        read_checkpoint(path)


class _Evil:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("form", ["zip", "old torch", "bare pickle"])
def test_a_pickle_that_runs_code_is_not_run(tmp_path, form):
    victim, path = tmp_path / "victim", tmp_path / "c.pth"
    content = {"model": _Evil(victim)}
    if form == "bare pickle":
        write(path, pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(ValueError, match="refused, nothing in it was run"):
        read_checkpoint(path)
    assert not victim.exists()


def test_a_whole_pickled_module_is_refused_with_what_to_do(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "c.pth")
    with pytest.raises(ValueError, match=r"model\.state_dict\(\)"):
        read_checkpoint(tmp_path / "c.pth")


def test_every_value_that_is_no_tensor_is_named(tmp_path, state):
    torch.save({**state, "lr": 0.1, "name": "x"}, tmp_path / "c.pth")
    with pytest.raises(ValueError, match="lr: float\n  name: str"):
        read_checkpoint(tmp_path / "c.pth")


def test_no_dictionary_at_all(tmp_path):
    torch.save([torch.ones(2)], tmp_path / "c.pth")
    with pytest.raises(ValueError, match="holds a list"):
        read_checkpoint(tmp_path / "c.pth")


def test_all_weights_that_are_not_finite_are_named(tmp_path):
    bad = {"ok": WEIGHT, "nan": WEIGHT * np.nan, "inf": WEIGHT + np.array([np.inf, 0, 0], "f4")}
    save_file(bad, tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match="NaN or infinite") as raised:
        read_checkpoint(tmp_path / "c.safetensors")
    assert "inf: 2 of 6" in str(raised.value)
    assert "nan: 6 of 6" in str(raised.value)
    assert "ok" not in str(raised.value).split("infinite:")[1]


def test_a_keras_file_is_not_mistaken_for_a_checkpoint(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.pth", "w") as archive:
        archive.writestr("model.weights.h5", "")
    with pytest.raises(ValueError, match="a Keras model"):
        read_checkpoint(tmp_path / "m.pth")


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_safetensors_of_other_types_are_refused_in_one_line(tmp_path, dtype):
    safetensors_torch = pytest.importorskip("safetensors.torch")
    safetensors_torch.save_file({"w": torch.ones(4).to(dtype)}, tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match=r"c\.safetensors: w is of type F8.*Save.*as F32"):
        read_checkpoint(tmp_path / "c.safetensors")


@pytest.mark.parametrize("is_zip", [True, False])
def test_one_value_that_is_shown_a_million_times_is_refused(tmp_path, is_zip):
    shown = {"w": torch.ones(1).expand(1 << 15, 1 << 15)}  # 4 GB
    torch.save(shown, tmp_path / "c.pth", _use_new_zipfile_serialization=is_zip)
    with pytest.raises(ValueError, match=r"its tensors have 4,294,967,296 bytes"):
        read_checkpoint(tmp_path / "c.pth")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(2, dtype=torch.complex64),
        torch.ones(2, device="meta"),
        torch.eye(2).to_sparse(),
    ],
)
def test_tensors_without_plain_numbers_are_named(tmp_path, state, tensor):
    torch.save({**state, "odd": tensor}, tmp_path / "c.pth")
    with pytest.raises(ValueError, match=r"not dense tensors:\n  odd: Tensor"):
        read_checkpoint(tmp_path / "c.pth")


def test_a_checkpoint_that_unpacks_to_far_more_than_it_is_is_refused(tmp_path, state):
    torch.save(state, tmp_path / "stored.pth")
    with (
        zipfile.ZipFile(tmp_path / "stored.pth") as stored,
        zipfile.ZipFile(tmp_path / "c.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
        packed.writestr("stored/data/more", bytes(100 << 20))
    with pytest.raises(ValueError, match=r"c\.pth: unpacks to 104,8.* are allowed"):
        read_checkpoint(tmp_path / "c.pth")


def test_an_archive_of_a_later_version_is_refused_in_one_line(tmp_path, state):
    torch.save(state, tmp_path / "c.pth")
    content = bytearray((tmp_path / "c.pth").read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 171  # the version that it needs
    write(tmp_path / "c.pth", content)
    with pytest.raises(ValueError, match=r"damaged zip archive.*zip file version 17\.1"):
        read_checkpoint(tmp_path / "c.pth")


def test_a_pipe_is_refused_and_not_read(tmp_path):
    os.mkfifo(tmp_path / "c.pth")
    with pytest.raises(ValueError, match="expected a regular file"):
        read_checkpoint(tmp_path / "c.pth")
