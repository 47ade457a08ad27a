"""`weights=`: files by name and all or nothing; "imagenet" fetched, verified, converted once."""

import hashlib

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import levit_tf
from levit_tf.weights import pretrained
from levit_tf.weights.pytorch_weights import to_state_dict
from tests.support.cases import slow
from tests.support.file_server import serving
from tests.support.randomize import randomize_keras

torch = pytest.importorskip("torch")


def nano(**kwargs):
    return levit_tf.LeViT("LeViTNano", **kwargs)


def assert_same_weights(found, expected):
    expected = {weight.path: weight for weight in expected.weights}
    for weight in found.weights:
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(weight), keras.ops.convert_to_numpy(expected[weight.path])
        )


@pytest.fixture(scope="module")
def trained():
    model = nano(classes=1000)
    randomize_keras(model)
    return model


def save(model, path):
    """Writes the kind of file that the path ends in, and returns the path."""
    model.save(path) if path.suffix == ".keras" else model.save_weights(path)
    return path


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    """The file of each kind."""
    folder = tmp_path_factory.mktemp("saved")
    return {suffix: save(trained, folder / f"m{suffix}") for suffix in (".keras", ".weights.h5")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "arguments"),
    [
        (".keras", {}),
        (".weights.h5", {}),
        (".weights.h5", {"heads": "single"}),
        (".weights.h5", {"heads": "both"}),
        (".weights.h5", {"include_top": False, "pooling": "avg"}),
        slow(".keras", {"heads": "single"}),
        slow(".keras", {"heads": "both"}),
        slow(".keras", {"include_top": False, "pooling": "avg"}),
    ],
)
def test_a_file_is_loaded_by_name(saved, trained, suffix, arguments):
    assert_same_weights(nano(weights=saved[suffix], **arguments), trained)


@pytest.mark.parametrize("suffix", [".weights.h5", slow(".keras")])
def test_a_file_of_another_size_is_resized(saved, suffix):
    model = nano(weights=saved[suffix], input_shape=(64, 128, 3))
    table = model.get_layer("stages_0_blocks_0_attn").attention_biases
    assert tuple(table.shape) == (2, 32)
    assert np.std(keras.ops.convert_to_numpy(table)) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".weights.h5", slow(".keras")])
def test_what_does_not_fit_is_listed(tmp_path, suffix, trained, saved):
    other = tmp_path / f"other{suffix}"
    with pytest.raises(ValueError, match=r"does not fit LeViTTiny.*\n(.*\n)*unexpected"):
        levit_tf.LeViT("LeViTTiny", weights=saved[suffix])
    with pytest.raises(ValueError, match=r"of another shape \(4\)") as raised:
        nano(weights=saved[suffix], classes=5)
    assert "classifier/head_dist/linear/bias: (1000,), the model needs (5,)" in str(raised.value)
    with pytest.raises(ValueError, match=r"missing \(6\):\n  classifier/head_dist/bn/gamma"):
        nano(weights=save(nano(heads="single"), other))
    with pytest.raises(ValueError, match=r"missing \(12\)"):
        nano(weights=save(nano(include_top=False), other))
    deeper = levit_tf.Variant("Deep", (32, 48, 64), 8, (2, 3, 4), (3, 1, 1))
    with pytest.raises(ValueError, match=r"unexpected \(\d+\):\n  stages_0_blocks_2_attn"):
        nano(weights=save(levit_tf.LeViT(deeper, input_shape=(64, 64, 3)), other))


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no such file. Expected "imagenet"'):
        nano(weights=tmp_path / "no.keras")
    for name in ("m.keras", "m.weights.h5"):
        (tmp_path / name).write_bytes(b"hello")
        with pytest.raises(ValueError, match=f"{name}: truncated"):
            nano(weights=tmp_path / name)
    (tmp_path / "m.pth").touch()
    with pytest.raises(ValueError, match=r"python -m converters\.from_pytorch"):
        nano(weights=tmp_path / "m.pth")


@pytest.mark.slow
def test_a_fused_file_is_refused(tmp_path, trained):
    levit_tf.fuse(trained).save(tmp_path / "fused.keras")
    with pytest.raises(ValueError, match=r"fused\.keras: .* not a LeViT in train form"):
        nano(weights=tmp_path / "fused.keras")


class _Release:
    """A release of LeViTNano on a server of this test, as both publishers would have it."""

    def __init__(self, server, cache, published):
        self.server, self.cache = server, cache
        self.official, self.timm = published
        self.digest = hashlib.sha256(self.official).hexdigest()[:8]
        self.official_name = f"LeViT-Nano-{self.digest}.pth"
        self.official_path = f"/{self.official_name}"
        self.hub_path = "/timm/levit_nano/resolve/main/model.safetensors"
        self.pointer_path = "/timm/levit_nano/raw/main/model.safetensors"
        self.pointer = (
            "version https://git-lfs.github.com/spec/v1\n"
            f"oid sha256:{hashlib.sha256(self.timm).hexdigest()}\nsize {len(self.timm)}\n"
        ).encode()
        server.files = {
            self.official_path: self.official,
            self.hub_path: self.timm,
            self.pointer_path: self.pointer,
        }
        self.converted = cache / f"LeViTNano-{self.digest}.weights.h5"

    def cached(self):
        return sorted(path.name for path in self.cache.iterdir())


@pytest.fixture(scope="module")
def published(trained, tmp_path_factory):
    """Contents of the official file and of timm's."""
    official, timm = (tmp_path_factory.mktemp("release") / name for name in ("o.pth", "t"))
    state = {k: torch.from_numpy(v) for k, v in to_state_dict(trained, "official").items()}
    torch.save({"model": state}, official)
    save_file(to_state_dict(trained, "timm"), timm)
    return official.read_bytes(), timm.read_bytes()


@pytest.fixture
def release(tmp_path, published, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    cache = tmp_path / "keras" / "models"
    cache.mkdir(parents=True)
    with serving() as server:
        release = _Release(server, cache, published)
        monkeypatch.setattr(pretrained, "OFFICIAL_URL", server.url)
        monkeypatch.setattr(pretrained, "HUB_URL", server.url)
        entry = pretrained._Release(release.official_name, "timm/levit_nano")
        monkeypatch.setitem(pretrained._RELEASES, "LeViTNano", entry)
        yield release


@pytest.fixture
def no_torch(monkeypatch):
    util = pretrained.importlib.util
    real = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "torch" else real(name))


def test_the_official_file_is_fetched_and_converted_once(release, trained):
    assert_same_weights(nano(weights="imagenet"), trained)
    assert release.server.requests == [release.official_path]
    assert release.cached() == sorted([release.official_name, release.converted.name])
    assert_same_weights(nano(weights="imagenet", heads="single"), trained)
    assert_same_weights(nano(weights="imagenet", include_top=False), trained)
    assert len(release.server.requests) == 1


@pytest.mark.usefixtures("no_torch")
def test_without_torch_timms_safetensors_are_fetched(release, trained):
    assert_same_weights(nano(weights="imagenet", heads="both"), trained)
    assert release.server.requests == [release.pointer_path, release.hub_path]
    assert release.converted.exists()


@pytest.mark.slow
def test_another_size_is_resized(release):
    model = nano(weights="imagenet", input_shape=(96, 64, 3))
    assert np.std(model.get_layer("stages_0_blocks_0_attn").attention_biases) > 0.1


def test_a_tampered_official_file(release):
    release.server.files[release.official_path] = release.official[:-1] + b"!"
    with pytest.raises(ValueError, match="wrong checksum") as raised:
        nano(weights="imagenet")
    for text in (release.server.url + release.official_path, release.digest, "found"):
        assert text in str(raised.value)
    assert release.cached() == []


@pytest.mark.slow
@pytest.mark.usefixtures("no_torch")
def test_tampered_safetensors(release):
    release.server.files[release.hub_path] = release.timm[:-1] + b"!"
    with pytest.raises(ValueError, match="wrong checksum"):
        nano(weights="imagenet")
    assert not release.converted.exists()
    assert not [name for name in release.cached() if name.endswith(".safetensors")]


@pytest.mark.usefixtures("no_torch")
def test_a_page_in_place_of_the_pointer(release):
    release.server.files[release.pointer_path] = b"<html>log in</html>"
    with pytest.raises(ValueError, match=r"expected a Git LFS pointer.*<html>"):
        nano(weights="imagenet")
    assert release.cached() == []


def test_a_truncated_download(release):
    release.server.truncated.add(release.official_path)
    with pytest.raises(ConnectionError, match=r"got only \d+ out of \d+ bytes"):
        nano(weights="imagenet")
    assert release.cached() == []


def test_a_file_that_is_not_there(release):
    release.server.files.clear()
    with pytest.raises(ConnectionError, match=r"fetching it failed .*404"):
        nano(weights="imagenet")


def test_no_network_says_what_to_put_where(release, trained, monkeypatch):
    monkeypatch.setattr(pretrained, "OFFICIAL_URL", "http://127.0.0.1:1/LeViT")
    place = release.cache / release.official_name
    with pytest.raises(ConnectionError, match="not in the cache") as raised:
        nano(weights="imagenet")
    assert f"from: http://127.0.0.1:1/LeViT/{release.official_name}" in str(raised.value)
    assert f"put it at: {place}" in str(raised.value)
    place.write_bytes(release.official)  # as the message says
    assert_same_weights(nano(weights="imagenet"), trained)


@pytest.mark.slow
@pytest.mark.usefixtures("no_torch")
def test_no_network_and_no_torch_says_what_to_put_where(release, trained, monkeypatch):
    monkeypatch.setattr(pretrained, "HUB_URL", "http://127.0.0.1:1")
    file = release.cache / "timm--levit_nano.safetensors"
    pointer = release.cache / "timm--levit_nano.safetensors.pointer"
    with pytest.raises(ConnectionError, match="With torch installed") as raised:
        nano(weights="imagenet")
    assert f"put it at: {pointer}" in str(raised.value)
    assert f"belongs at: {file}" in str(raised.value)
    pointer.write_bytes(release.pointer)
    file.write_bytes(release.timm)
    assert_same_weights(nano(weights="imagenet"), trained)


def test_a_wrong_file_put_by_hand_is_refused(release):
    (release.cache / release.official_name).write_bytes(b"not the weights")
    with pytest.raises(ValueError, match="wrong checksum"):
        nano(weights="imagenet")
    assert release.cached() == []


def test_a_damaged_cache_is_no_silent_random_model(release):
    nano(weights="imagenet")
    release.converted.write_bytes(release.converted.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"weights\.h5: truncated.*Delete or replace it"):
        nano(weights="imagenet")


def test_only_rgb(release):
    with pytest.raises(ValueError, match=r"3 channels. LeViTNano was given an input of 1"):
        nano(weights="imagenet", input_shape=(64, 64, 1))
    assert release.server.requests == []


def test_variants_without_released_weights_list_those_with():
    with pytest.raises(ValueError, match="LeViT128S, LeViT128, LeViT192, LeViT256, LeViT384"):
        levit_tf.LeViT("LeViTTiny", weights="imagenet")


def test_the_five_releases():
    for name, entry in list(pretrained._RELEASES.items())[:5]:
        assert entry.official_file == f"LeViT-{name.removeprefix('LeViT')}-{entry.digest}.pth"
        assert entry.hub_repository == f"timm/levit_{name[5:].lower()}.fb_dist_in1k"
        assert int(entry.digest, 16)
