"""RegNetY: its dimensions, its agreement with timm's at every depth, and strict import."""

import dataclasses
import importlib
import zipfile

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from converters import from_pytorch_regnet
from levit_tf.teachers.regnet import (
    REGNETY_160,
    REGNETY_TINY,
    RegNetConfig,
    RegNetY,
    regnet_from_state_dict,
)
from tests.support import references
from tests.support.cases import slow
from tests.support.parity import TOLERANCE, relative_error
from tests.support.randomize import random_images, randomize_torch

torch = pytest.importorskip("torch")
CLASSES = 7
DEPTHS = ("s1", "s2", "s3", "s4", "pre_logits", "logits")


@pytest.fixture(scope="module")
def timm_regnet():
    references.timm_levit_module()  # timm imports only with its stand-in for torchvision
    return importlib.import_module("timm.models.regnet")


def timm_model(timm_regnet, config, size, classes=1000):
    """timm's network of the same dimensions, randomised, in evaluation mode."""
    torch.manual_seed(0)
    module = timm_regnet.RegNet(
        timm_regnet.RegNetCfg(
            depth=config.depth,
            w0=config.initial_width,
            wa=config.slope,
            wm=config.multiplier,
            group_size=config.group_width,
            se_ratio=config.se_ratio,
            stem_width=config.stem_width,
        ),
        num_classes=classes,
    )
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if ".se.fc" in name and name.endswith("weight"):
                parameter *= 3  # gates that differ from one half
            elif name.endswith(("fc.bias", "fc1.bias", "fc2.bias")):
                parameter.uniform_(-1, 1)
    randomize_torch(module, size)
    return module.eval()


def state_of(module):
    return {key: value.numpy().copy() for key, value in module.state_dict().items()}


def errors(module, model, size):
    """Relative error of the Keras model at each depth."""
    images = random_images(size, 2, seed=7)
    maps = {name: model.get_layer(name).output for name in DEPTHS[:-1]}
    found = keras.Model(model.input, {**maps, "logits": model.output})(images)
    with torch.no_grad():
        nchw = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        last, (_, *stages) = module.forward_intermediates(nchw)
        # (batch, C, height, width) -> (batch, height, width, C)
        expected = {f"s{n}": x.numpy().transpose(0, 2, 3, 1) for n, x in enumerate(stages, 1)}
        expected["pre_logits"] = module.forward_head(last, pre_logits=True).numpy()
        expected["logits"] = module.forward_head(last).numpy()
    assert 0.1 < expected["logits"].std() < 10  # neither dead nor saturated
    return {
        depth: relative_error(keras.ops.convert_to_numpy(found[depth]), expected[depth])
        for depth in DEPTHS
    }


@pytest.fixture(scope="module")
def tiny(timm_regnet):
    return timm_model(timm_regnet, REGNETY_TINY, (64, 96), CLASSES)


@pytest.fixture
def checkpoint(tiny, tmp_path):
    path = tmp_path / "tiny.pth"
    torch.save({"model": tiny.state_dict()}, path)  # as DeiT wraps it
    return path


def test_regnety_160_has_the_widths_and_depths_of_the_paper():
    assert REGNETY_160.widths == [224, 448, 1232, 3024]
    assert REGNETY_160.depths == [2, 4, 11, 1]


def test_widths_and_depths_are_timms_for_every_regnety(timm_regnet):
    names = [name for name in timm_regnet.model_cfgs if name.startswith("regnety_0")]
    assert len(names) > 8
    for name in names:
        cfg = timm_regnet.model_cfgs[name]
        if cfg.group_min_ratio or cfg.w0 % 8:
            continue  # torchvision's rounding of widths, which is another
        config = RegNetConfig(name, cfg.depth, cfg.w0, cfg.wa, cfg.wm, cfg.group_size)
        per_block, stages, groups = timm_regnet.generate_regnet(
            cfg.wa, cfg.w0, cfg.wm, cfg.depth, cfg.group_size
        )
        widths, depths = np.unique(per_block, return_counts=True)
        widths, _ = timm_regnet.adjust_widths_groups_comp(widths.tolist(), [1.0] * stages, groups)
        assert (config.widths, config.depths) == (widths, depths.tolist()), name


@pytest.mark.slow
def test_regnety_160_has_the_parameters_of_timms(timm_regnet):
    with torch.device("meta"):
        module = timm_regnet.RegNet(timm_regnet.model_cfgs["regnety_160"])
    expected = sum(parameter.numel() for parameter in module.parameters())
    assert expected == 83_590_140
    model = RegNetY(REGNETY_160, (None, None, 3))
    statistics = sum(np.prod(w.shape) for w in model.weights if "/moving_" in w.path)
    assert model.count_params() - statistics == expected


@pytest.mark.parametrize("size", [slow((64, 96)), (45, 71)])
def test_features_and_logits_are_timms(tiny, size):
    model = regnet_from_state_dict(REGNETY_TINY, state_of(tiny))
    found = errors(tiny, model, size)
    assert max(found.values()) < TOLERANCE, found


@pytest.mark.slow
def test_features_and_logits_of_regnety_160_are_timms(timm_regnet):
    module = timm_model(timm_regnet, REGNETY_160, (64, 96))
    model = regnet_from_state_dict(REGNETY_160, state_of(module))
    found = errors(module, model, (64, 96))
    assert max(found.values()) < TOLERANCE, found


def test_the_teacher_is_frozen_even_when_called_for_training(tiny):
    model = regnet_from_state_dict(REGNETY_TINY, state_of(tiny))
    images = random_images((32, 32))
    before = [keras.ops.convert_to_numpy(weight) for weight in model.weights]
    np.testing.assert_array_equal(model(images, training=True), model(images, training=False))
    assert model.trainable_weights == []
    for old, weight in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, weight)


def test_everything_that_does_not_fit_is_listed(tiny):
    state = state_of(tiny)
    del state["s1.b1.se.fc1.weight"], state["stem.bn.running_var"]
    state["s9.b1.conv1.conv.weight"] = np.zeros((2, 2, 1, 1), np.float32)
    state["s2.b1.conv2.conv.weight"] = np.zeros((12, 1, 3, 3), np.float32)
    with pytest.raises(ValueError, match=r"teacher.pth does not fit regnety_tiny") as raised:
        regnet_from_state_dict(REGNETY_TINY, state, source="teacher.pth")
    message = str(raised.value)
    assert "missing (2):" in message
    assert "stem.bn.running_var, shape (8,)" in message
    assert "s1.b1.se.fc1.weight, shape (2, 8, 1, 1)" in message
    assert "unexpected (1):\n  s9.b1.conv1.conv.weight, shape (2, 2, 1, 1)" in message
    assert "s2.b1.conv2.conv.weight: (12, 1, 3, 3), the model needs (12, 12, 3, 3)" in message


def test_a_checkpoint_without_a_head_is_refused(tiny):
    state = {key: value for key, value in state_of(tiny).items() if not key.startswith("head")}
    with pytest.raises(ValueError, match=r"missing \(2\)(.|\n)*head.fc.weight, shape \(1000, 60\)"):
        regnet_from_state_dict(REGNETY_TINY, state)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_weights_are_read_from_keras_files(tiny, tmp_path, suffix):
    trained = regnet_from_state_dict(REGNETY_TINY, state_of(tiny))
    path = tmp_path / f"teacher{suffix}"
    trained.save(path) if suffix == ".keras" else trained.save_weights(path)
    model = RegNetY(REGNETY_TINY, (64, 64, 3), CLASSES, weights=path)
    images = random_images((64, 64))
    np.testing.assert_array_equal(model(images), trained(images))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_keras_files_that_do_not_fit_are_refused(tmp_path, suffix):
    path = tmp_path / f"teacher{suffix}"
    model = RegNetY(REGNETY_TINY, (64, 64, 3), CLASSES)
    model.save(path) if suffix == ".keras" else model.save_weights(path)
    with pytest.raises(ValueError, match=r"head_fc/kernel: \(60, 7\), the model needs \(60, 9\)"):
        RegNetY(REGNETY_TINY, (64, 64, 3), 9, weights=path)
    shallower = dataclasses.replace(REGNETY_TINY, depth=4)
    with pytest.raises(ValueError, match=r"unexpected(.|\n)*s3_b3_se_fc2/1, shape \(36,\)"):
        RegNetY(shallower, (64, 64, 3), CLASSES, weights=path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=f"teacher{suffix}: truncated, or no"):
        RegNetY(REGNETY_TINY, (64, 64, 3), CLASSES, weights=path)


def test_bad_arguments_say_what_is_expected(tmp_path):
    with pytest.raises(ValueError, match=r"input_shape must be .*Received: \(64, 3\)"):
        RegNetY(REGNETY_TINY, (64, 3))
    with pytest.raises(ValueError, match=r"classes must be a positive integer. Received: 0"):
        RegNetY(REGNETY_TINY, classes=0)
    with pytest.raises(FileNotFoundError, match=r"nowhere.keras: no such file"):
        RegNetY(REGNETY_TINY, weights="nowhere.keras")
    (tmp_path / "teacher.pth").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"teacher.pth: .*converters.from_pytorch_regnet"):
        RegNetY(REGNETY_TINY, weights=tmp_path / "teacher.pth")
    with pytest.raises(ValueError, match="initial_width that is a positive multiple of 8"):
        RegNetConfig("odd", 4, 9, 8.0, 2.0, 4)


def test_the_command_writes_a_model_of_built_in_layers(tiny, checkpoint, tmp_path, run_command):
    output = tmp_path / "teacher.keras"
    files = f"--checkpoint={checkpoint}", f"--output={output}"
    finished = run_command("converters.from_pytorch_regnet", "--model=regnety_tiny", *files)
    assert finished.returncode == 0, finished.stderr
    assert "7 classes" in finished.stdout

    with zipfile.ZipFile(output) as archive:
        assert b"levit_tf" not in archive.read("config.json")  # so it loads with Keras alone
    model = keras.saving.load_model(output)
    assert model.trainable_weights == []
    for size in ((64, 96), (45, 71)):
        assert max(errors(tiny, model, size).values()) < TOLERANCE

    with pytest.raises(FileExistsError, match="exists already; --overwrite replaces it"):
        from_pytorch_regnet.convert(checkpoint, output, config=REGNETY_TINY)


@pytest.mark.slow
def test_a_checkpoint_of_a_training_script_is_recognised_and_that_is_said(tiny, tmp_path, capsys):
    state = {f"module.{key}": array for key, array in tiny.state_dict().items()}
    torch.save({"model_ema": state, "epoch": 3}, tmp_path / "wrapped.pth")
    model = from_pytorch_regnet.convert(
        tmp_path / "wrapped.pth", tmp_path / "out.keras", config=REGNETY_TINY
    )
    assert capsys.readouterr().out.splitlines() == [
        "checkpoint: took 'model_ema' of the file",
        "checkpoint: removed the prefix 'module.'",
    ]
    assert max(errors(tiny, model, (64, 96)).values()) < TOLERANCE


def test_a_checkpoint_that_does_not_fit_leaves_no_file(tiny, tmp_path):
    state = state_of(tiny)
    del state["stem.conv.weight"]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(ValueError, match=r"part.safetensors does not fit(.|\n)*stem.conv.weight"):
        from_pytorch_regnet.convert(
            tmp_path / "part.safetensors", tmp_path / "out.keras", config=REGNETY_TINY
        )
    assert [path.name for path in tmp_path.iterdir()] == ["part.safetensors"]
    with pytest.raises(ValueError, match=r"--output: expected a file name ending in .keras"):
        from_pytorch_regnet.convert(tmp_path / "part.safetensors", tmp_path / "out.h5")
