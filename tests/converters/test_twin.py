"""The tf_keras twin of the deploy graph: the same function, names and weights."""

import dataclasses
import subprocess
import sys

import keras
import numpy as np
import pytest

import levit_tf
from converters.deploy import deploy_graph
from converters.qat.twin import make_twin, set_graph_weights
from converters.qat.twin_layers import GATES, AttentionBias
from levit_common.shipped_names import LOGITS
from tests.support.cases import some_slow
from tests.support.export_cases import (
    CLASSES,
    answers,
    make_model,
    relative_error,
    rgb_images,
    shared_model,
)
from tests.support.randomize import randomize_keras


def silu_model():
    """A LeViT with the activation of timm's variants."""
    variant = dataclasses.replace(
        levit_tf.get_variant("LeViTTiny"), name="LeViTTinySiLU", activation="silu"
    )
    model = levit_tf.LeViT(variant, classes=CLASSES)
    randomize_keras(model)
    return model


MODELS = {
    "two heads": shared_model,
    "not averaged": lambda: make_model("both"),
    "not square": lambda: shared_model(input_shape=(32, 48, 3)),
    "fused before": lambda: levit_tf.fuse(shared_model()),
    "silu": silu_model,
}


@pytest.mark.parametrize("name", some_slow(MODELS, fast=["not square"]))
def test_the_twin_computes_what_the_deploy_graph_computes(name):
    graph = deploy_graph(MODELS[name]())
    images = rgb_images(8, graph.input.shape[1:3])
    expected = answers(graph, images)[LOGITS]
    assert relative_error(make_twin(graph)(images).numpy(), expected) < 1e-5


@pytest.mark.slow
def test_layers_have_the_names_and_the_order_of_the_graph():
    deploy_graph(shared_model())  # Keras numbers the operations of all graphs; the twin does not
    graph = deploy_graph(shared_model())
    (core,) = (layer for layer in graph.layers if isinstance(layer, keras.Model))
    expected = [
        layer.name
        for layer in (*graph.layers[:2], *core.layers[1:])
        if not layer.name.endswith("attention_bias_reshape")
    ]
    ours = (*GATES.values(),)
    twin = make_twin(graph)
    found = [layer.name for layer in twin.layers if not isinstance(layer, ours)]
    operations = [name for name in found if name.startswith(("matmul_", "add_"))]
    assert [name for name in found if name not in operations] == expected
    assert operations == [
        name for n in range(4) for name in (f"matmul_{2 * n}", f"add_{n}", f"matmul_{2 * n + 1}")
    ]


@pytest.mark.slow
def test_entries_of_one_offset_share_a_parameter():
    model = shared_model(input_shape=(32, 48, 3))
    twin = make_twin(deploy_graph(model))
    tables = {layer.name: layer for layer in twin.layers if isinstance(layer, AttentionBias)}
    for name, layer in tables.items():
        attention = model.get_layer(name.removesuffix("_attention_bias"))
        expected = keras.ops.convert_to_numpy(attention.attention_bias())
        assert layer.attention_biases.shape == (len(expected), np.unique(expected[0]).size)
        np.testing.assert_array_equal(layer(0.0)[0], expected)


def test_weights_go_back_into_the_graph():
    graph = deploy_graph(shared_model())
    twin = make_twin(graph)
    images = rgb_images(4)
    before = answers(graph, images)[LOGITS]
    rng = np.random.default_rng(0)
    weights = {}
    for layer in twin.layers:
        for weight in layer.trainable_weights:
            weight.assign(weight * rng.normal(1, 0.1, weight.shape))
        if layer.weights:
            weights[layer.name] = layer.get_weights()
        if isinstance(layer, AttentionBias):
            weights[layer.name] = [layer.expanded(layer.attention_biases).numpy()]
    set_graph_weights(graph, weights)
    after = answers(graph, images)[LOGITS]
    assert relative_error(after, before) > 1e-2
    assert relative_error(after, twin(images).numpy()) < 1e-5


def test_weights_of_another_network_are_refused():
    graph = deploy_graph(shared_model())
    with pytest.raises(ValueError, match=r"Not the same network: .*stem_conv1"):
        set_graph_weights(graph, {})


def test_what_no_deploy_graph_has_is_named():
    images = keras.Input((32, 32, 3))
    x = keras.layers.Softmax(name="odd")(images)
    with pytest.raises(ValueError, match="'odd' is a Softmax, which no deploy graph has"):
        make_twin(keras.Model(images, {LOGITS: x}))


@pytest.mark.slow
def test_two_fused_heads_are_refused():
    graph = deploy_graph(levit_tf.fuse(make_model("both")))
    with pytest.raises(ValueError, match="is a Average, which no deploy graph has"):
        make_twin(graph)


@pytest.mark.slow
def test_only_quantisation_aware_training_imports_its_packages():
    code = """
import os, sys, tensorflow as tf
def say():
    print('tf_keras' in sys.modules, 'tensorflow_model_optimization' in sys.modules)
    print(os.environ.get('TF_USE_LEGACY_KERAS'), tf.keras.__version__[:2])
import levit_tf, converters.qat, training.loop.session, training.artefacts
say()
import converters.qat.twin
say()
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines() == ["False False", "None 3.", "True True", "None 3."]
