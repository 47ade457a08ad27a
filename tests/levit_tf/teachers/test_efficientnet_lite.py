"""EfficientNet-Lite: its agreement with timm's, and strict import."""

import importlib

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from converters import from_pytorch_efficientnet_lite
from levit_tf.keras_graph.properties import model_properties
from levit_tf.teachers.efficientnet_lite import (
    EFFICIENTNET_LITES,
    TAKES,
    EfficientNetLite,
    efficientnet_lite_from_state_dict,
    pytorch_key,
)
from tests.support import commands, references
from tests.support.parity import TOLERANCE, relative_error
from tests.support.randomize import random_images, randomize_torch

torch = pytest.importorskip("torch")
CLASSES = 7


def timm_model(config, size):
    """timm's network, randomised, in evaluation mode."""
    references.timm_levit_module()  # timm imports only with its stand-in for torchvision
    module = importlib.import_module("timm.models.efficientnet")
    torch.manual_seed(0)
    found = getattr(module, f"tf_{config.name}")(num_classes=CLASSES)
    randomize_torch(found, size)
    return found.eval()


def official_state(model, config):
    """The weights of timm's network by the keys of the checkpoints: their order is the same."""
    template = EfficientNetLite(config, (32, 32, 3), CLASSES)
    keys = []
    for layer in template.layers:
        keys += [pytorch_key(weight.path) for weight in layer.weights]
    arrays = {key: array.numpy() for key, array in model.state_dict().items()}
    arrays = [array for key, array in arrays.items() if not key.endswith("num_batches_tracked")]
    assert len(keys) == len(arrays)
    return dict(zip(keys, arrays, strict=True))


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet_lite0",
        pytest.param("efficientnet_lite1", marks=pytest.mark.slow),
        pytest.param("efficientnet_lite2", marks=pytest.mark.slow),
    ],
)
def test_it_agrees_with_timm(name):
    config, size = EFFICIENTNET_LITES[name], (64, 96)
    reference = timm_model(config, size)
    images = random_images(size, 2)
    with torch.no_grad():
        expected = reference(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    model = efficientnet_lite_from_state_dict(official_state(reference, config), (*size, 3))
    assert model.name == name
    assert relative_error(np.array(model(images)), expected) < TOLERANCE


def test_it_says_what_it_takes_and_in_what_size():
    model = EfficientNetLite(EFFICIENTNET_LITES["efficientnet_lite0"], classes=CLASSES)
    properties = model_properties(model)
    np.testing.assert_allclose(properties.input_range.mean, TAKES.mean)
    np.testing.assert_allclose(properties.input_range.std, TAKES.std)
    assert properties.input_size == (224, 224)
    assert not model.trainable_weights
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    assert isinstance(model, keras.Model)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"none of efficientnet_lite0.*Found: 0 blocks"):
        efficientnet_lite_from_state_dict({"_conv_stem.weight": np.zeros((32, 3, 3, 3))})
    config = EFFICIENTNET_LITES["efficientnet_lite0"]
    with pytest.raises(ValueError, match=r"does not fit efficientnet_lite0: probably another"):
        efficientnet_lite_from_state_dict(
            {"_conv_stem.weight": np.zeros((32, 3, 3, 3))}, config=config
        )
    state = official_state(timm_model(config, (32, 32)), config)
    del state["_bn0.weight"]
    with pytest.raises(ValueError, match=r"missing \(1\):\n  _bn0.weight, shape \(32,\)$"):
        efficientnet_lite_from_state_dict(state, config=config)


@pytest.mark.slow
def test_the_command_writes_a_model_that_teaches(tmp_path, capsys):
    config = EFFICIENTNET_LITES["efficientnet_lite0"]
    model = EfficientNetLite(config, (32, 32, 3), CLASSES)
    state = {
        pytorch_key(weight.path): np.array(weight)
        .transpose((2, 3, 0, 1) if "depthwise" in weight.path else (3, 2, 0, 1))
        .copy()
        if len(weight.shape) == 4
        else np.array(weight).T.copy()
        for weight in model.weights
    }
    save_file(state, tmp_path / "lite 0.safetensors")
    output = tmp_path / "lite0.keras"
    arguments = [f"--checkpoint={tmp_path / 'lite 0.safetensors'}", f"--output={output}"]
    assert commands.call(from_pytorch_efficientnet_lite, arguments) == 0
    assert "which takes 224x224 pixels" in capsys.readouterr().out
    found = keras.models.load_model(output)
    for one, other in zip(found.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one, other)
