"""Teachers of other frameworks: ONNX and TFLite files, channels first and last, quantised too."""

import warnings
import zipfile

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx import TensorProto, helper, numpy_helper

from converters.tflite import metadata
from converters.tflite.tflite_graph import Graph
from levit_common.shipped_names import INPUT, LOGITS
from levit_lite.class_names import LABELS_FILE
from levit_tf.prediction.onnx_network import CLASS_NAMES_KEY
from levit_tf.preprocessing import preprocess_input
from tests.support.cases import slow
from tests.support.export_cases import shared_model
from tests.support.randomize import random_images
from training.teachers.input_range import parse_preprocessing
from training.teachers.labels import digest_of_teacher
from training.teachers.teacher import load_teacher
from training.teachers.tflite_metadata import noted_range

SIZE, CLASSES = (16, 16), 5
IMAGES = preprocess_input(np.random.default_rng(1).integers(0, 256, (6, *SIZE, 3)))
RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(CLASSES, 3, 4, 4)).astype(np.float32)
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def expected_logits(pixels_to_input, kernel=KERNEL):
    """What the network of these tests answers, by numpy: a convolution of 4x4 patches, averaged."""
    x = pixels_to_input((IMAGES * STD + MEAN) * 255)
    patches = x.reshape(len(x), 4, 4, 4, 4, 3)  # (batch, row, y, column, x, channels)
    return np.einsum("bryqxc,kcyx->bk", patches, kernel) / 16


def onnx_file(path, *, first=True, softmax=False, batch="n", outputs=1):
    nodes, shape = [], [batch, 3, *SIZE] if first else [batch, *SIZE, 3]
    image = "image"
    if not first:
        nodes.append(helper.make_node("Transpose", ["image"], ["nchw"], perm=[0, 3, 1, 2]))
        image = "nchw"
    nodes += [
        helper.make_node("Conv", [image, "kernel"], ["map"], strides=[4, 4]),
        helper.make_node("GlobalAveragePool", ["map"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["logits_"]),
    ]
    last = "logits_"
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits_"], ["softmax"], axis=1))
        last = "softmax"
    names = [last, "logits2"][:outputs]
    if outputs == 2:
        nodes.append(helper.make_node("Identity", ["logits_"], ["logits2"]))
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [batch, CLASSES]) for n in names]
    graph = helper.make_graph(
        nodes,
        "other",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        values,
        [numpy_helper.from_array(KERNEL, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


def tflite_file(path, *, quantized=False, dtype="float32", name="picture"):
    inputs = keras.Input((*SIZE, 3), batch_size=1, name=name, dtype=dtype)
    x = keras.ops.cast(inputs, "float32")
    x = keras.layers.Conv2D(CLASSES, 4, 4, use_bias=False)(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    model.set_weights([KERNEL.transpose(2, 3, 1, 0)])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if quantized:
        pixels = RNG.integers(0, 256, (50, 1, *SIZE, 3))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([np.float32(one / 127.5 - 1)] for one in pixels)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the converter about its statistics
        path.write_bytes(converter.convert())
    return path


def assert_same_softmax(found, logits, atol):
    found, expected = tf.nn.log_softmax(found), tf.nn.log_softmax(logits)
    np.testing.assert_allclose(found, expected, atol=atol)


@pytest.mark.parametrize("first", [True, False], ids=["channels_first", "channels_last"])
@pytest.mark.parametrize("softmax", [True, False], ids=["probabilities", "logits"])
def test_an_onnx_network_of_another_framework_teaches(tmp_path, first, softmax):
    path = onnx_file(tmp_path / "o ther.onnx", first=first, softmax=softmax)
    teacher = load_teacher(path, SIZE, CLASSES, preprocessing="127/128")
    expected = expected_logits(lambda pixels: (pixels - 127) / 128)
    assert_same_softmax(tf.function(teacher)(IMAGES), expected, 1e-4)
    assert ("probabilities" in teacher.notes[1]) == softmax


def test_an_onnx_network_of_a_fixed_batch_teaches_any_number(tmp_path):
    path = onnx_file(tmp_path / "other.onnx", batch=4)
    teacher = load_teacher(path, SIZE, CLASSES, preprocessing="unit")
    assert_same_softmax(teacher(IMAGES), expected_logits(lambda pixels: pixels / 255), 1e-4)


def test_a_tflite_network_of_another_framework_teaches(tmp_path):
    teacher = load_teacher(
        tflite_file(tmp_path / "other.tflite"), SIZE, CLASSES, preprocessing="symmetric"
    )
    assert_same_softmax(teacher(IMAGES), expected_logits(lambda p: p / 127.5 - 1), 1e-4)


def test_a_quantised_tflite_network_says_itself_what_it_takes(tmp_path):
    teacher = load_teacher(tflite_file(tmp_path / "o.tflite", quantized=True), SIZE, CLASSES)
    logits = expected_logits(lambda pixels: pixels / 127.5 - 1)
    assert_same_softmax(teacher(IMAGES), logits, 0.1 * np.ptp(logits))


def test_a_tflite_network_that_takes_plain_bytes_gets_them(tmp_path):
    teacher = load_teacher(tflite_file(tmp_path / "o.tflite", dtype="uint8"), SIZE, CLASSES)
    assert "takes pixels" in teacher.notes[0]
    assert_same_softmax(teacher(IMAGES), expected_logits(lambda pixels: pixels), 0.05)


def with_normalization(path, mean, std):
    graph = Graph(path.read_bytes())
    options = {0: np.float32(mean), 1: np.float32(std)}
    image = {0: "picture", 4: [{0: np.uint8(1), 1: options}]}
    graph.set_metadata(metadata.ENTRY, metadata._flatbuffer({0: "other", 3: [{2: [image]}]}))
    path.write_bytes(graph.content())
    return path


@pytest.mark.parametrize(
    ("mean", "std"), [([127.5], [127.5]), (255 * MEAN, 255 * STD), ([127.5], [50, 60, 70])]
)
def test_the_normalization_in_the_metadata_of_a_tflite_file_is_taken(tmp_path, mean, std):
    path = with_normalization(tflite_file(tmp_path / "o.tflite"), mean, std)
    found = load_teacher(path, SIZE, CLASSES)(IMAGES)
    expected = expected_logits(lambda pixels: (pixels - np.float32(mean)) / np.float32(std))
    assert_same_softmax(found, expected, 1e-4)
    with pytest.raises(ValueError, match="teacher_preprocessing=unit contradicts the file"):
        load_teacher(path, SIZE, CLASSES, preprocessing="unit")


@pytest.mark.parametrize("damage", ["no std", "other bytes"])
def test_metadata_that_say_nothing_are_passed_over(tmp_path, damage):
    path = with_normalization(tflite_file(tmp_path / "o.tflite"), [0.0], [0.0])
    if damage == "other bytes":
        graph = Graph(path.read_bytes())
        graph.set_metadata(metadata.ENTRY, b"\xff" * 64)
        path.write_bytes(graph.content())
    assert noted_range(path) is None


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_classes_that_a_file_names_are_put_in_the_students_order(tmp_path, kind):
    path, names = tmp_path / f"other.{kind}", ["ant", "bee", "cow", "dog", "elk"]
    if kind == "onnx":
        model = onnx.load(onnx_file(path))
        helper.set_model_props(model, {CLASS_NAMES_KEY: "\n".join(names)})
        onnx.save(model, path)
    else:
        with zipfile.ZipFile(tflite_file(path), "a") as archive:
            archive.writestr(LABELS_FILE, "\n".join(names))
    students = [(name,) for name in names[::-1]]
    teacher = load_teacher(path, SIZE, CLASSES, class_names=students, preprocessing="unit")
    expected = expected_logits(lambda pixels: pixels / 255)
    assert_same_softmax(teacher(IMAGES), expected[:, ::-1], 1e-4)
    assert "by name" in teacher.notes[1]


def test_images_are_brought_to_the_size_of_the_file(tmp_path):
    path = onnx_file(tmp_path / "other.onnx")
    larger = random_images((24, 40), 3)
    found = load_teacher(path, (24, 40), CLASSES, preprocessing="normalized")(larger)
    resized = tf.image.resize(larger, SIZE, "bicubic", antialias=True)
    expected = load_teacher(path, SIZE, CLASSES, preprocessing="normalized")(resized)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("make", [onnx_file, tflite_file])
def test_what_a_file_does_not_say_is_asked_for(tmp_path, make):
    path = make(tmp_path / f"other.{make.__name__.removesuffix('_file')}")
    with pytest.raises(ValueError, match=r"nothing in the model says.*teacher_preprocessing"):
        load_teacher(path, SIZE, CLASSES)


def named_as_ours(make, path, **kwargs):
    """A file of another framework whose tensors have the names of ours by chance."""
    if make is tflite_file:
        return tflite_file(path, name=INPUT, **kwargs)
    model = onnx.load(onnx_file(path))
    renamed = {"image": INPUT, "logits_": LOGITS}
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for value in (*model.graph.input, *model.graph.output):
        value.name = renamed[value.name]
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("make", [onnx_file, tflite_file])
def test_names_of_tensors_do_not_say_what_they_hold(tmp_path, make):
    path = named_as_ours(make, tmp_path / f"other.{make.__name__.removesuffix('_file')}")
    with pytest.raises(ValueError, match=r"nothing in the model says.*teacher_preprocessing"):
        load_teacher(path, SIZE, CLASSES)
    found = load_teacher(path, SIZE, CLASSES, preprocessing="unit")(IMAGES)
    assert_same_softmax(found, expected_logits(lambda pixels: pixels / 255), 1e-4)


def test_bytes_of_a_file_named_as_ours_have_the_range_of_its_quantisation(tmp_path):
    path = named_as_ours(tflite_file, tmp_path / "o.tflite", quantized=True)
    found = load_teacher(path, SIZE, CLASSES)(IMAGES)
    assert_same_softmax(found, expected_logits(lambda pixels: pixels / 127.5 - 1), 0.1)


@pytest.mark.parametrize(
    "name", ["fp32.tflite", slow("int8_full.tflite"), "model.onnx", slow("int8.onnx")]
)
def test_files_of_this_package_say_that_they_take_pixels(artefacts, name):
    size = shared_model().input_shape[1:3]
    assert load_teacher(artefacts[name], size, 7).notes[0] == "takes pixels"


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_a_labels_file_beside_a_file_without_names_names_its_classes(tmp_path, kind):
    make = {"onnx": onnx_file, "tflite": tflite_file}[kind]
    path, names = make(tmp_path / f"other.{kind}"), ["ant", "bee", "cow", "dog", "elk"]
    students, digest = [(name,) for name in names[::-1]], digest_of_teacher(path, None)
    options = {"class_names": students, "preprocessing": "unit"}
    assert "the file names none" in load_teacher(path, SIZE, CLASSES, **options).notes[1]
    (tmp_path / LABELS_FILE).write_text("\n".join(names))
    teacher = load_teacher(path, SIZE, CLASSES, **options)
    expected = expected_logits(lambda pixels: pixels / 255)
    assert_same_softmax(teacher(IMAGES), expected[:, ::-1], 1e-4)
    assert teacher.notes[1].endswith(f", by name, named by {tmp_path / LABELS_FILE}")
    assert digest_of_teacher(path, None) != digest  # a cache and a run notice it
    (tmp_path / LABELS_FILE).write_text("ant\nbee")
    with pytest.raises(ValueError, match=r"labels.txt: 2 class names for a model of 5 classes"):
        load_teacher(path, SIZE, CLASSES, **options)


def test_two_outputs_that_could_be_the_answer_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected one output \(batch, classes\)"):
        load_teacher(onnx_file(tmp_path / "o.onnx", outputs=2), SIZE, CLASSES, preprocessing="unit")


@pytest.mark.parametrize("name", ["other.onnx", "other.tflite"])
def test_a_file_that_is_no_network_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x08\x07 no network at all")
    with pytest.raises(ValueError, match=name):
        load_teacher(tmp_path / name, SIZE, CLASSES, preprocessing="unit")


def test_a_preprocessing_that_contradicts_the_file_is_refused(tmp_path):
    path = tflite_file(tmp_path / "o.tflite", quantized=True)
    with pytest.raises(ValueError, match="teacher_preprocessing=unit contradicts the file"):
        load_teacher(path, SIZE, CLASSES, preprocessing="unit")


def test_preprocessing_is_a_name_or_mean_and_std_of_pixels():
    found = parse_preprocessing("123.675,116.28,103.53/58.395,57.12,57.375")
    np.testing.assert_allclose(found.mean, MEAN, rtol=1e-5)
    np.testing.assert_allclose(found.std, STD, rtol=1e-5)
    for wrong in ("caffe", "127", "127/0", "a/b", "1,2/3,4,5"):
        with pytest.raises(ValueError, match=r"teacher_preprocessing|input range"):
            parse_preprocessing(wrong)
