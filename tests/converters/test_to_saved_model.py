"""SavedModel export: plain RGB in, the same answers as Keras out, for every form of the network."""

import collections

import keras
import numpy as np
import pytest
import tensorflow as tf

import levit_tf
from converters.deploy import deploy_graph
from converters.saved_model.conversion import save_signatures
from converters.to_saved_model import to_saved_model
from levit_tf.prediction.predictor import load_predictor
from levit_tf.preprocessing import preprocess_input
from levit_tf.weights.keras_files import load_keras_file
from tests.support.artefacts import NAMES, WIDE
from tests.support.export_cases import (
    CLASSES,
    answers,
    make_model,
    relative_error,
    rgb_images,
    shared_model,
)


def mean_logits(model, images):
    """Logits of a model with heads="both", by the train form."""
    heads = answers(model, preprocess_input(images))
    return (heads["head"] + heads["head_dist"]) / 2


@pytest.fixture(scope="module")
def exported(artefacts):
    """A model with both heads, of a size that is not square, and its SavedModel."""
    return shared_model(heads="both", input_shape=(*WIDE, 3)), artefacts["wide_saved_model"]


@pytest.mark.parametrize("batch", [1, 5])
def test_answers_are_those_of_keras_for_any_batch(exported, batch):
    model, path = exported
    images = rgb_images(batch, (32, 48))
    loaded = tf.saved_model.load(str(path))
    outputs = loaded.signatures["serving_default"](images=tf.constant(images))
    logits = mean_logits(model, images)
    assert relative_error(outputs["logits"].numpy(), logits) < 1e-5
    assert relative_error(outputs["probabilities"].numpy(), keras.ops.softmax(logits)) < 1e-5


def test_the_signature_is_the_documented_one(exported):
    _, path = exported
    signature = tf.saved_model.load(str(path)).signatures["serving_default"]
    ((), inputs) = signature.structured_input_signature
    assert inputs["images"].shape.as_list() == [None, 32, 48, 3]
    assert inputs["images"].dtype == tf.float32
    assert {name: t.shape.as_list() for name, t in signature.structured_outputs.items()} == {
        "logits": [None, CLASSES],
        "probabilities": [None, CLASSES],
    }


def test_weights_are_constants_of_the_graph(exported):
    model, path = exported
    signature = tf.saved_model.load(str(path)).signatures["serving_default"]
    assert not signature.captured_inputs
    functions = signature.graph.as_graph_def().library.function
    stored = sum(
        np.prod([d.size for d in node.attr["value"].tensor.tensor_shape.dim])
        for function in functions
        for node in function.node_def
        if node.op == "Const"
    )
    assert stored > 0.5 * model.count_params()


def executed_operations(path, images):
    """How often TensorFlow runs which kernel, fused ones with what is fused into them."""
    tf1 = tf.compat.v1
    with tf.Graph().as_default(), tf1.Session() as session:
        signature = tf1.saved_model.load(session, ["serve"], str(path)).signature_def[
            "serving_default"
        ]
        metadata = tf1.RunMetadata()
        session.run(
            signature.outputs["logits"].name,
            {signature.inputs["images"].name: images},
            options=tf1.RunOptions(output_partition_graphs=True),
            run_metadata=metadata,
        )
    return collections.Counter(
        (node.op.removeprefix("_MklNative"), *node.attr["fused_ops"].list.s)
        for graph in metadata.partition_graphs
        for node in graph.node
    )


def test_every_hard_swish_is_part_of_a_convolution(exported):
    model, path = exported
    found = executed_operations(path, rgb_images(2, (32, 48)))
    if not any("BiasAdd" in str(key) for key in found):
        pytest.skip("this TensorFlow has no oneDNN kernels for this processor")
    swishes = sum(count for key, count in found.items() if b"_FusedHardSwish" in key)
    expected = sum(
        isinstance(layer, keras.layers.Activation)
        and layer.activation is keras.activations.hard_silu
        for layer in levit_tf.fuse(model).layers
    )
    assert swishes == expected > 5
    assert not found[("Relu6",)]


@pytest.mark.slow
def test_bfloat16_is_near_float32_and_takes_and_gives_float32(exported, tmp_path):
    model, path = exported
    to_saved_model(model, tmp_path / "half", precision="bfloat16")
    images = tf.constant(rgb_images(5, (32, 48)))
    half, whole = (
        tf.saved_model.load(str(folder)).signatures["serving_default"](images=images)["logits"]
        for folder in (tmp_path / "half", path)
    )
    assert half.dtype == tf.float32
    assert 1e-4 < relative_error(half.numpy(), whole.numpy()) < 5e-2


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_weights_may_be_variables_which_a_graph_does_not_hold(exported, tmp_path, precision):
    model, _ = exported
    error = to_saved_model(model, tmp_path / "v", weights="variables", precision=precision)
    assert error < (1e-5 if precision == "float32" else 5e-2)
    graph = (tmp_path / "v" / "saved_model.pb").stat().st_size
    weights = sum(f.stat().st_size for f in (tmp_path / "v" / "variables").iterdir())
    assert weights > 2 * graph
    with pytest.raises(ValueError, match=r"Weights must be one of .*Received: 'files'"):
        to_saved_model(model, tmp_path / "none", weights="files")


def test_an_unknown_precision_is_refused(exported, tmp_path):
    model, _ = exported
    with pytest.raises(ValueError, match=r"one of \('float32', 'bfloat16'\).*'float8'"):
        to_saved_model(model, tmp_path / "none", precision="float8")
    assert not list(tmp_path.iterdir())


def test_class_names_travel_with_it(artefacts):
    assert load_predictor(artefacts["saved_model"]).class_names == list(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("heads", "fused"), [("single", False), ("both", False), ("average", True), ("both", True)]
)
def test_the_deploy_graph_is_the_same_function_from_every_form(heads, fused):
    model = shared_model(heads=heads)
    images = rgb_images(4)
    if heads == "both":
        expected = keras.ops.softmax(mean_logits(model, images))
    else:
        expected = answers(model, preprocess_input(images))
    outputs = answers(deploy_graph(levit_tf.fuse(model) if fused else model), images)
    assert relative_error(outputs["probabilities"], expected) < 1e-5


@pytest.mark.slow
def test_a_fused_file_is_exported_like_the_train_form(artefacts):
    images = rgb_images(2)
    expected = answers(deploy_graph(shared_model()), images)
    outputs = answers(deploy_graph(load_keras_file(artefacts["fused.keras"])), images)
    np.testing.assert_array_equal(outputs["logits"], expected["logits"])


def test_a_network_that_returns_logits_gets_probabilities():
    outputs = answers(deploy_graph(shared_model(classifier_activation=None)), rgb_images(2))
    np.testing.assert_allclose(
        outputs["probabilities"], keras.ops.softmax(outputs["logits"]), rtol=1e-5
    )


def two_images():
    a, b = keras.Input((32, 32, 3)), keras.Input((32, 32, 3))
    return keras.Model([a, b], shared_model()(keras.layers.Add()([a, b])))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (two_images, "expected one input"),
        (lambda: make_model(input_shape=(32, 32, 4)), "nothing in the model says"),
    ],
)
def test_what_cannot_be_shipped_is_refused_and_nothing_is_written(make, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        to_saved_model(make(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_number_of_class_names_is_refused(tmp_path):
    with pytest.raises(ValueError, match="2 class names for a model of 7 classes"):
        to_saved_model(shared_model(), tmp_path / "out", class_names=["a", "b"])
    assert list(tmp_path.iterdir()) == []


def test_an_existing_output_is_kept(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="--overwrite"):
        to_saved_model(shared_model(), tmp_path / "out")
    (tmp_path / "out" / "final.keras").touch()
    with pytest.raises(FileExistsError, match=r"does not delete .* no saved_model\.pb"):
        to_saved_model(shared_model(), tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "final.keras").exists()


@pytest.mark.slow
def test_the_command_writes_a_saved_model_with_the_labels_of_a_file(tmp_path, run_command):
    shared_model().save(tmp_path / "model.keras")
    (tmp_path / "names.txt").write_text("".join(f"name {n}\n" for n in range(CLASSES)))
    files = f"--model={tmp_path / 'model.keras'}", f"--output={tmp_path / 'saved'}"
    labels = f"--labels={tmp_path / 'names.txt'}"
    done = run_command("converters.to_saved_model", *files, labels)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"written: {tmp_path / 'saved'}; differs by ")
    assert load_predictor(tmp_path / "saved").class_names == [f"name {n}" for n in range(CLASSES)]
    again = run_command("converters.to_saved_model", *files)
    assert again.returncode == 1
    assert "--overwrite" in again.stderr.splitlines()[-1]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    double = tf.function(lambda x: 2 * x, input_signature=[tf.TensorSpec([], tf.float32)])
    with pytest.raises(OSError, match=r"file/a: cannot be written \(\w+: "):
        save_signatures({"double": double}, tmp_path / "file" / "a")
