"""TFLite export: Keras' answers by every recipe, XNNPACK partitions, what goes with them."""

import hashlib
import json

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import levit_tf
from converters.deploy import deploy_graph
from converters.tflite import recipes
from converters.tflite.conversion import float32_graph, to_tflite
from converters.tflite.recipes import RECIPES
from converters.tflite.tflite_graph import Graph
from levit_lite.prediction.predictor import load_tflite_predictor
from levit_tf.prediction.predictor import load_predictor
from levit_tf.preprocessing import preprocess_input
from tests.support.cases import slow, some_slow
from tests.support.export_cases import (
    CLASSES,
    answers,
    make_model,
    relative_error,
    rgb_images,
    shared_model,
)

CALIBRATED = ("int8", "int8_full")
EVERY_RECIPE = some_slow(RECIPES, fast=["fp32", "int8"])


@pytest.fixture(scope="module")
def model():
    return shared_model(classifier_activation=None)


@pytest.fixture(scope="module")
def source(model, tmp_path_factory):
    """The file that the fp32 one is said to come from."""
    path = tmp_path_factory.mktemp("source") / "model.keras"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def files(model, source, tmp_path_factory):
    """Recipe -> its file, with both outputs; all recipes begin with one float32 graph."""
    folder = tmp_path_factory.mktemp("tflite")
    made = {}

    def once(graph):
        if "content" not in made:
            made["content"] = float32_graph(graph).content()
        return Graph(made["content"])  # of its own, as a recipe may change it

    class Files(dict):
        """Makes a file when it is first asked for."""

        def __missing__(self, recipe):
            options = {"source": source} if recipe == "fp32" else {}
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(f"{to_tflite.__module__}.float32_graph", once)
                path = folder / f"{recipe}.tflite"
                self[recipe] = convert(model, path, recipe, **options)
            return self[recipe]

    return Files()


def convert(model, path, recipe, **options):
    images = rgb_images(32, seed=3) if recipe in CALIBRATED else None
    to_tflite(
        model, path, recipe=recipe, **{"outputs": "both", "calibration_images": images} | options
    )
    return path


def runner_of(path):
    return Interpreter(model_path=str(path)).get_signature_runner("serving_default")


def outputs_of(path, images):
    """The outputs as float32, by name; pictures are given as the file wants them."""
    runner = runner_of(path)
    shift = 128 if runner.get_input_details()["images"]["dtype"] == np.int8 else 0
    dtype = runner.get_input_details()["images"]["dtype"]
    found = {name: [] for name in runner.get_output_details()}
    for image in images:
        for name, y in runner(images=(image[None] - shift).astype(dtype)).items():
            scale, zero_point = runner.get_output_details()[name]["quantization"]
            if scale:
                y = np.float32(scale) * (y.astype(np.float32) - zero_point)
            found[name].append(y)
    return {name: np.concatenate(rows) for name, rows in found.items()}


def ops_of(path):
    """(op, types of its outputs) for each node, the delegates last."""
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    types = {d["index"]: np.dtype(d["dtype"]).name for d in interpreter.get_tensor_details()}
    return [
        (op["op_name"], [types[n] for n in op["outputs"]]) for op in interpreter._get_ops_details()
    ]


def test_fp32_answers_are_those_of_keras(model, files):
    images = rgb_images(16)
    expected = answers(model, preprocess_input(images))
    found = outputs_of(files["fp32"], images)
    assert relative_error(found["logits"], expected) < 1e-5
    np.testing.assert_allclose(found["probabilities"], keras.ops.softmax(expected), atol=1e-5)


# An untrained network decides narrowly: the distance counts more than the winner.
@pytest.mark.parametrize(
    ("recipe", "mean_error", "agreement"),
    [
        ("int8", 0.06, 0.85),
        slow("fp16", 2e-3, 0.95),
        slow("dynamic", 0.05, 0.85),
        slow("int8_full", 0.1, 0.7),
    ],
)
def test_smaller_files_stay_close_to_keras(model, files, recipe, mean_error, agreement):
    images = rgb_images(64)
    expected = answers(model, preprocess_input(images))
    found = outputs_of(files[recipe], images)["logits"]
    assert np.abs(found - expected).mean() < mean_error * expected.std()
    assert np.mean(found.argmax(1) == expected.argmax(1)) >= agreement
    assert not np.array_equal(found, outputs_of(files["fp32"], images)["logits"])


@pytest.mark.parametrize(
    ("recipe", "share"),
    [("int8", 0.4), slow("fp16", 0.55), slow("dynamic", 0.4), slow("int8_full", 0.4)],
)
def test_smaller_files_are_smaller(files, recipe, share):
    assert files[recipe].stat().st_size < share * files["fp32"].stat().st_size


@pytest.mark.parametrize("recipe", ["fp32", "int8", slow("fp16"), slow("dynamic")])
def test_the_signature_is_the_documented_one(files, recipe):
    interpreter = Interpreter(model_path=str(files[recipe]))
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["images"], "outputs": ["logits", "probabilities"]}
    }
    outputs = interpreter.get_signature_runner("serving_default")(images=rgb_images(1))
    assert {name: (y.shape, y.dtype) for name, y in outputs.items()} == {
        "logits": ((1, CLASSES), np.float32),
        "probabilities": ((1, CLASSES), np.float32),
    }
    exponentials = np.exp(outputs["logits"])
    np.testing.assert_allclose(
        outputs["probabilities"], exponentials / exponentials.sum(), rtol=1e-5
    )


@pytest.mark.parametrize("recipe", ["fp32", "int8", slow("fp16"), slow("dynamic")])
def test_the_whole_network_is_one_xnnpack_partition(files, recipe):
    names = [name for name, _ in ops_of(files[recipe])]
    assert names.count("DELEGATE") == 1
    assert names[-1] == "DELEGATE"


def test_int8_has_all_products_in_int8_and_softmax_and_hard_swish_in_float(files):
    types = {}
    for name, outputs in ops_of(files["int8"]):
        types.setdefault(name, set()).update(outputs)
    assert types["CONV_2D"] == types["FULLY_CONNECTED"] == types["BATCH_MATMUL"] == {"int8"}
    for name in ("SOFTMAX", "HARD_SWISH", "DEPTHWISE_CONV_2D"):
        assert types[name] == {"float32"}


@pytest.mark.parametrize("recipe", ["int8", slow("dynamic"), slow("int8_full")])
def test_int8_weights_have_a_scale_for_each_channel(files, recipe):
    interpreter = Interpreter(model_path=str(files[recipe]))
    scales = [
        len(tensor["quantization_parameters"]["scales"])
        for tensor in interpreter.get_tensor_details()
        if len(tensor["shape"]) == 4 and tensor["dtype"] == np.int8 and tensor["shape"][0] > 1
    ]
    assert len(scales) > 20
    assert min(scales) > 1


@pytest.mark.slow
def test_int8_full_has_no_float_in_it(files):
    interpreter = Interpreter(model_path=str(files["int8_full"]))
    types = {np.dtype(tensor["dtype"]).name for tensor in interpreter.get_tensor_details()}
    assert types <= {"int8", "uint8", "int32"}


@pytest.mark.slow
def test_int8_full_leaves_xnnpack_for_softmax_only(files):
    names = [name for name, _ in ops_of(files["int8_full"])]
    assert "HARD_SWISH" not in names
    # Before the first softmax, between two, and the ends, which turn uint8 into int8 and back.
    assert 1 < names.count("DELEGATE") <= names.count("SOFTMAX")


@pytest.mark.slow
def test_uint8_pictures_are_the_pixels_themselves(files):
    details = runner_of(files["int8_full"]).get_input_details()["images"]
    assert (details["dtype"], details["quantization"]) == (np.uint8, (1.0, 0))


@pytest.mark.slow
def test_int8_pictures_are_the_pixels_less_128(model, files, tmp_path):
    signed = convert(model, tmp_path / "int8.tflite", "int8_full", io_dtype="int8")
    details = runner_of(signed).get_input_details()["images"]
    assert (details["dtype"], details["quantization"]) == (np.int8, (1.0, -128))
    images = rgb_images(4)
    for name, expected in outputs_of(signed, images).items():
        np.testing.assert_array_equal(
            outputs_of(files["int8_full"], images)[name], expected, err_msg=name
        )


@pytest.mark.slow
def test_fp16_may_be_computed_in_float16(files):
    model = Graph(files["fp16"].read_bytes()).model
    metadata = {m.name: bytes(model.buffers[m.buffer].data) for m in model.metadata}
    assert metadata[b"reduced_precision_support"] == b"fp16accfp16"
    others = Graph(files["fp32"].read_bytes()).model.metadata
    assert b"reduced_precision_support" not in {m.name for m in others}


@pytest.mark.parametrize("asked", ["nothing", slow("logits"), "both"])
def test_the_file_returns_what_was_asked_for(model, files, artefacts, asked, tmp_path):
    if asked == "nothing":
        path, expected = artefacts["fp32.tflite"], ["probabilities"]
    elif asked == "logits":
        path, expected = tmp_path / "out.tflite", ["logits"]
        to_tflite(model, path, outputs="logits")
    else:
        path, expected = files["fp32"], ["logits", "probabilities"]
    interpreter = Interpreter(model_path=str(path))
    assert interpreter.get_signature_list()["serving_default"]["outputs"] == expected
    images = rgb_images(3)
    probabilities = keras.ops.softmax(answers(model, preprocess_input(images)))
    np.testing.assert_allclose(load_predictor(path).predict(images), probabilities, atol=1e-5)


@pytest.mark.parametrize("recipe", EVERY_RECIPE)
def test_predictors_read_every_file(model, files, recipe):
    images = rgb_images(3)
    expected = keras.ops.softmax(answers(model, preprocess_input(images)))
    np.testing.assert_allclose(load_predictor(files[recipe]).predict(images), expected, atol=0.1)


@pytest.mark.parametrize("recipe", EVERY_RECIPE)
def test_a_json_beside_the_file_says_how_it_was_made(files, source, recipe):
    path = files[recipe]
    about = json.loads(path.with_name(f"{path.name}.json").read_text())
    assert about["recipe"] == recipe
    assert about["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert about["calibration_images"] == (32 if recipe in CALIBRATED else 0)
    assert about["compared_with_keras"]["logits"]["relative_difference"] < 0.5
    if recipe == "fp32":
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        assert about["source"]["sha256"] == digest
    else:
        assert about["source"] is None


def linear(classes=3, activation=None, **properties):
    """The smallest network, where it does not matter which."""
    dense = keras.layers.Dense(classes, activation)
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten(), dense])
    return levit_tf.with_properties(model, input_range="unit", **properties)


def test_what_the_json_says_is_returned_too(tmp_path):
    about = to_tflite(linear(), tmp_path / "out.tflite")
    assert json.loads((tmp_path / "out.tflite.json").read_text()) == about


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["cat", "dog"], ["not dog", "dog"]), (None, ["class 0", "class 1"])],
)
def test_a_single_value_has_one_label_and_is_read_as_two_classes(tmp_path, names, expected):
    model = linear(1, "sigmoid", class_names=names)
    to_tflite(model, tmp_path / "out.tflite")
    images = rgb_images(3, (16, 16))
    for load in (load_predictor, load_tflite_predictor):
        predictor = load(tmp_path / "out.tflite")
        assert predictor.class_names == expected
        yes = answers(model, images / 255)[:, 0]
        np.testing.assert_allclose(predictor.predict(images)[:, 1], yes, atol=1e-5)
    (tmp_path / "labels.txt").write_text("cat\ndog", encoding="utf-8")
    assert load_predictor(tmp_path / "out.tflite").class_names == ["cat", "dog"]


def test_logits_alone_are_refused_if_readers_would_mistake_them(tmp_path):
    with pytest.raises(ValueError, match="--outputs=probabilities or --outputs=both"):
        to_tflite(linear(1, "sigmoid"), tmp_path / "out.tflite", outputs="logits")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("recipe", ["fp32", slow("int8")])
def test_outputs_beside_the_probabilities_are_kept(tmp_path, recipe):
    x = inputs = keras.Input((16, 16, 3))
    x = keras.layers.Dense(5, name="embedding")(keras.layers.Flatten()(x))
    found = {"probabilities": keras.layers.Dense(3, "softmax")(x), "embedding": x}
    model = levit_tf.with_properties(keras.Model(inputs, found), input_range="unit")
    images = rgb_images(8, (16, 16))
    to_tflite(model, tmp_path / "out.tflite", recipe=recipe, calibration_images=images)
    assert set(outputs_of(tmp_path / "out.tflite", images)) == {"probabilities", "embedding"}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["fp32", slow("int8_full")])
def test_the_same_network_gives_the_same_file(model, files, recipe, tmp_path):
    again = convert(model, tmp_path / "again.tflite", recipe)
    assert again.read_bytes() == files[recipe].read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "times"), [("fp32", 1), ("dynamic", 2)])
def test_a_file_is_parsed_once_and_once_more_when_the_quantiser_has_written_it(
    tmp_path, monkeypatch, recipe, times
):
    parsed = []
    parse = Graph.__init__

    def counted(self, content):
        parsed.append(len(content))
        parse(self, content)

    monkeypatch.setattr(Graph, "__init__", counted)
    to_tflite(linear(), tmp_path / "out.tflite", recipe=recipe)
    assert len(parsed) == times


@pytest.mark.slow
def test_a_file_that_computes_something_else_is_not_written(files, tmp_path, monkeypatch):
    other = make_model(classifier_activation=None, seed=1)
    wrong = Graph(files["fp32"].read_bytes())
    monkeypatch.setitem(recipes.RECIPES, "fp32", RECIPES["fp32"]._replace(make=lambda *_: wrong))
    with pytest.raises(ValueError, match="not written, as it does not compute what the Keras"):
        to_tflite(other, tmp_path / "out.tflite", outputs="both")
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("slope", [-1.0, 0.0])  # the opposite answer; always the same answer
def test_a_yes_or_no_file_that_answers_otherwise_is_not_written(tmp_path, monkeypatch, slope):
    def yes_if_red(slope):
        model = linear(1, "sigmoid")
        kernel = np.zeros((16, 16, 3, 1), np.float32)
        kernel[..., 0, :], kernel[..., 2, :] = slope, -slope
        model.layers[-1].kernel.assign(kernel.reshape(-1, 1))
        return model

    images = rgb_images(32, (16, 16))
    options = {"recipe": "dynamic", "calibration_images": images}
    wrong = float32_graph(deploy_graph(yes_if_red(slope), 1))
    to_tflite(yes_if_red(1.0), tmp_path / "out.tflite", **options)
    dynamic = RECIPES["dynamic"]._replace(make=lambda *_: wrong)
    monkeypatch.setitem(recipes.RECIPES, "dynamic", dynamic)
    with pytest.raises(ValueError, match="not written, as it does not compute what the Keras"):
        to_tflite(yes_if_red(1.0), tmp_path / "wrong.tflite", **options)


def test_sigmoids_are_written_in_int8_beside_their_logits(tmp_path):
    model, images = linear(4, "sigmoid"), rgb_images(32, (16, 16))
    options = {"recipe": "int8", "outputs": "both", "calibration_images": images}
    to_tflite(model, tmp_path / "out.tflite", **options)
    found = outputs_of(tmp_path / "out.tflite", images)
    np.testing.assert_allclose(keras.ops.sigmoid(found["logits"]), found["probabilities"], 1e-5)
    np.testing.assert_allclose(found["probabilities"], answers(model, images / 255), atol=0.05)


def test_other_classifiers_than_levit_are_converted_too(tmp_path):
    layers = keras.layers
    x = inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, activation="relu")(x)
    x = layers.Dense(4)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, layers.Activation("softmax", name="predictions")(x))
    images = rgb_images(8, (16, 16))
    with pytest.raises(ValueError, match="nothing in the model says what its input holds"):
        to_tflite(model, tmp_path / "out.tflite", calibration_images=images)
    model = levit_tf.with_properties(model, input_range="normalized")
    to_tflite(model, tmp_path / "out.tflite", recipe="int8_full", calibration_images=images)
    expected = answers(model, preprocess_input(images))
    found = outputs_of(tmp_path / "out.tflite", images)["probabilities"]
    np.testing.assert_allclose(found, expected, atol=0.05)
