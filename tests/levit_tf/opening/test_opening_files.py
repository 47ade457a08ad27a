"""Archives, weights and tensors are measured by their headers before anything is unpacked."""

import io
import json
import os
import resource
import struct
import zipfile

import h5py
import keras
import numpy as np
import pytest

from levit_common.regular_files import ModelFileError, check_regular
from levit_lite.opening.archives import check_archive
from levit_tf.opening.keras_files import check_keras_file
from levit_tf.opening.safetensors_files import check_safetensors_file
from levit_tf.opening.weight_files import check_weights_file
from levit_tf.weights.keras_files import load_keras_file


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A `.keras` file as Keras writes it."""
    path = tmp_path_factory.mktemp("keras") / "model.keras"
    layers = [keras.layers.Dense(4, name="first"), keras.layers.Dense(2, name="last")]
    keras.Sequential([keras.Input((3,)), *layers]).save(path)
    return path


def rewritten(source, path, method=zipfile.ZIP_STORED, without=(), **members):
    """Copies an archive with other members."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", method) as new:
        for name in old.namelist():
            if name not in without and name not in members:
                new.writestr(name, old.read(name))
        for name, content in members.items():
            new.writestr(name, content)
    return path


def zeros(megabytes):
    return bytes(megabytes << 20)


def test_what_keras_writes_is_allowed(model, tmp_path):
    assert check_keras_file(model) == 4 * (3 * 4 + 4 + 4 * 2 + 2)
    compressed = rewritten(model, tmp_path / "a.keras", zipfile.ZIP_DEFLATED)
    assert check_keras_file(compressed) == check_keras_file(model)


def test_an_archive_that_unpacks_to_far_more_than_it_is_is_refused_unread(model, tmp_path):
    path = rewritten(
        model, tmp_path / "bomb.keras", zipfile.ZIP_DEFLATED, **{"model.weights.h5": zeros(300)}
    )
    assert path.stat().st_size < 1 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for open_file in (check_keras_file, load_keras_file):
        with pytest.raises(ModelFileError, match=r"bomb\.keras: unpacks to 314,57.*allowed"):
            open_file(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # kB


def test_damaged_compressed_weights_are_told_in_one_line(model, tmp_path):
    path = rewritten(model, tmp_path / "a.keras", zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    start = content.index(b"model.weights.h5") + len("model.weights.h5")
    content[start : start + 200] = b"\xff" * 200
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"a\.keras: model\.weights\.h5 in it is damaged"):
        check_keras_file(path)


def test_a_description_is_bounded(model, tmp_path):
    for name, limit in (("config.json", 16 << 20), ("metadata.json", 1 << 20)):
        path = rewritten(model, tmp_path / name, zipfile.ZIP_DEFLATED, **{name: zeros(17)})
        with pytest.raises(ModelFileError, match=rf"{name} in it unpacks to .*most {limit:,}"):
            check_keras_file(path)


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "assets/../../out", "..\\out", "C:\\out"])
def test_names_that_lead_out_of_an_archive_are_refused(name, model, tmp_path):
    path = rewritten(model, tmp_path / "a.keras", **{name: b""})
    with pytest.raises(ModelFileError, match="leads out of the archive"):
        check_keras_file(path)


def test_links_and_doubles_in_an_archive_are_refused(model, tmp_path):
    path = rewritten(model, tmp_path / "a.keras")
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("assets/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ModelFileError, match="is a link"):
        check_keras_file(path)
    path = rewritten(model, tmp_path / "b.keras")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("config.json", "{}")
    with pytest.raises(ModelFileError, match=r"two members called 'config\.json'"):
        check_keras_file(path)


def test_an_archive_without_what_keras_writes_is_refused(model, tmp_path):
    # With weights as .npz, an archive in the archive, Keras would read that.
    path = rewritten(
        model, tmp_path / "a.keras", without=["model.weights.h5"], **{"model.weights.npz": b""}
    )
    with pytest.raises(ModelFileError, match=r"model\.weights\.h5 missing"):
        check_keras_file(path)


def test_pipes_and_devices_are_refused_and_not_read(tmp_path):
    os.mkfifo(tmp_path / "a.keras")
    for check in (check_keras_file, check_weights_file, check_safetensors_file, check_archive):
        with pytest.raises(ModelFileError, match=r"a\.keras: expected a regular file.*a pipe"):
            check(tmp_path / "a.keras")
    with pytest.raises(ModelFileError, match="a device"):
        check_regular("/dev/zero")
    with pytest.raises(FileNotFoundError, match="no such file"):
        check_keras_file(tmp_path / "missing.keras")


def described(model, path, change):
    """A file with another description of the model."""
    with zipfile.ZipFile(model) as archive:
        config = json.loads(archive.read("config.json"))
    change(config["config"]["layers"])
    return rewritten(model, path, **{"config.json": json.dumps(config)})


def test_layers_without_weights_for_them_are_not_made(model, tmp_path):
    def widen(layers):
        layers[1]["config"]["units"] = 1 << 26  # 0.8 GB

    path = described(model, tmp_path / "wide.keras", widen)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelFileError, match=r"wide\.keras: config\.json in it describes more"):
        load_keras_file(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 << 10  # kB


def weights(path, make):
    with h5py.File(path, "w") as file:
        make(file.create_group("layers/dense/vars"))
    return path


def external(group):
    group.create_dataset("0", (4,), "f4", external=[("/etc/hostname", 0, 16)])


def virtual(group):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "0", (4,))
    group.create_virtual_dataset("0", layout)


def external_link(group):
    group["0"] = h5py.ExternalLink("other.h5", "/0")


def soft_link(group):
    group["0"] = h5py.SoftLink("/layers")


def loop(group):
    group["0"] = group.file["layers"]


def unwritten(group):
    group.create_dataset("0", (1 << 20, 1 << 20), "f4")


def compressed(group):
    group.create_dataset("0", data=np.zeros((1 << 13, 1 << 13), "f4"), compression="gzip")


def texts(group):
    group.create_dataset("0", data=["a"], dtype=h5py.string_dtype())


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (external, "stored in another file"),
        (virtual, "stored in another file"),
        (external_link, "a link to somewhere else"),
        (soft_link, "a link to somewhere else"),
        (loop, "lead back to themselves"),
        (unwritten, "declares 4,398,046,511,104 bytes"),
        (compressed, "declares 268,435,456 bytes"),
        (texts, "no numbers"),
    ],
)
def test_weights_lie_in_the_file_and_have_room_there(make, reason, model, tmp_path):
    path = weights(tmp_path / "a.weights.h5", make)
    with pytest.raises(ModelFileError, match=rf"a\.weights\.h5: .*{reason}"):
        check_weights_file(path)
    inside = {"model.weights.h5": path.read_bytes()}
    with pytest.raises(ModelFileError, match=rf"a\.keras: .*{reason}"):
        check_keras_file(rewritten(model, tmp_path / "a.keras", **inside))


def safetensors(path, header, data=b""):
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(content)) + content + data)
    return path


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "C64"])
def test_types_that_numpy_has_not_are_refused_by_name(dtype, tmp_path):
    entry = {"dtype": dtype, "shape": [4], "data_offsets": [0, 4]}
    path = safetensors(tmp_path / "a.safetensors", {"head.weight": entry}, b"0000")
    with pytest.raises(ModelFileError, match=f"head.weight is of type {dtype}.*Save.*as F32"):
        check_safetensors_file(path)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"{",
        b"[" * 100_000,
        {"a": None},
        {"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}},
        {"a": {"dtype": "F32", "shape": [1]}},
    ],
)
def test_damaged_headers_are_told_in_one_line(header, tmp_path):
    path = safetensors(tmp_path / "a.safetensors", header, b"0000")
    with pytest.raises(ModelFileError, match=r"a\.safetensors: truncated or damaged") as error:
        check_safetensors_file(path)
    assert "\n" not in str(error.value)


def test_an_encrypted_or_broken_archive_is_refused(model, tmp_path):
    content = bytearray(model.read_bytes())
    start = content.rindex(b"PK\x01\x02")
    content[start + 8] |= 1
    (tmp_path / "a.keras").write_bytes(content)
    with pytest.raises(ModelFileError, match="is encrypted"):
        check_keras_file(tmp_path / "a.keras")
    (tmp_path / "a.keras").write_bytes(io.BytesIO(content).getvalue()[: len(content) // 2])
    with pytest.raises(ModelFileError, match="truncated, or no zip archive"):
        check_keras_file(tmp_path / "a.keras")
