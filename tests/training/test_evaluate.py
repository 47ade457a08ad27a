"""Accuracy by the paper's protocol, of every kind of file, on every kind of data set."""

import csv
import json
import sys

import keras
import numpy as np
import onnx
import pytest
import tensorflow_datasets as tfds
from onnx import TensorProto, helper
from PIL import Image

import levit_tf
from converters.to_saved_model import to_saved_model
from levit_common.shipped_names import INPUT, LOGITS, PROBABILITIES
from levit_lite.class_names import imagenet_class_names
from levit_lite.images import load_image
from levit_tf.prediction.predictor import load_predictor
from levit_tf.weights.keras_files import ModelFileError
from tests.support.randomize import randomize_keras
from tests.support.training.data_cases import (
    CLASSES,
    TinyPictures,
    broken_png,
    prepare,
    write_folder,
)
from training.data import Dataset, load_data
from training.data.sources import PixelSource
from training.evaluate import class_of_output, evaluate
from training.evaluation.report import paper_top1

SIZE = (32, 32)


class Oracle:
    """A predictor whose answer is written in the picture: class red, then green, then blue."""

    def __init__(self, class_names):
        self.class_names = list(class_names)
        self.classes = len(self.class_names)
        self.input_size = SIZE

    def predict(self, images):
        scores = np.zeros((len(images), self.classes), np.float32)
        for row, pixel in enumerate(images[:, 0, 0].astype(int)):
            for place, label in enumerate(pixel):
                scores[row, label] = max(scores[row, label], 3 - place)
        return scores / 6


def answers(*pixels):
    """Pictures of one colour each."""
    return np.broadcast_to(np.array(pixels, np.uint8)[:, None, None], (len(pixels), *SIZE, 3))


def held_out(images, labels, names=CLASSES):
    source = PixelSource(images, labels)
    return Dataset("answers", train=None, test=source, class_names=names, input_size=SIZE)


def test_accuracy_is_counted_in_all_and_for_each_class():
    names = [str(n) for n in range(7)]
    # Right at once; right as the second; wrong, but among five of seven; wrong altogether.
    data = held_out(answers((0, 1, 2), (1, 0, 2), (2, 3, 4), (3, 4, 5)), [0, 0, 1, 6], names)
    found = evaluate(Oracle(names), data, batch=3)
    assert (found.top1, found.top5, found.pictures) == (0.25, 0.75, 4)
    assert found.class_pictures.tolist() == [2, 1, 0, 0, 0, 0, 1]
    assert found.class_correct.tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert [tuple(place) for place in np.argwhere(found.confusion)] == [
        (0, 0),
        (0, 1),
        (1, 2),
        (6, 3),
    ]


def test_a_limit_takes_pictures_from_all_over():
    data = held_out(answers(*[(n // 10, 0, 0) for n in range(30)]), [n // 10 for n in range(30)])
    found = evaluate(Oracle(CLASSES), data, limit=9)
    assert found.class_pictures.tolist() == [3, 3, 3]
    assert found.top1 == 1


class TinyReal(TinyPictures):
    """The features of imagenet2012_real."""

    __module__ = TinyPictures.__module__
    # What is predicted first, and what is right.
    EXAMPLES = {"validation": ((0, [0]), (1, [0, 1]), (2, [0, 1]), (1, []))}  # noqa: RUF012

    def _info(self):
        label = tfds.features.ClassLabel(names=CLASSES)
        features = {
            "image": tfds.features.Image(encoding_format="png"),
            "original_label": label,
            "real_label": tfds.features.Sequence(label),
            "file_name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "real_label"),
        )

    def _generate_examples(self, split):
        for n, (predicted, right) in enumerate(self.EXAMPLES[split]):
            image = np.full((*SIZE, 3), predicted, np.uint8)
            labels = {"original_label": 0, "real_label": right, "file_name": str(n)}
            yield n, {"image": image, **labels}


def test_any_label_of_a_set_is_right_and_pictures_without_one_do_not_count(tmp_path, monkeypatch):
    prepare(TinyReal(data_dir=tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    data = load_data("tiny_real", input_size=SIZE)
    assert (data.num_train, data.num_test) == (0, 4)
    found = evaluate(Oracle(CLASSES), data)
    assert (found.pictures, found.unlabelled) == (3, 1)
    assert found.top1 == pytest.approx(2 / 3)
    assert found.confusion is None
    assert found.class_pictures.tolist() == [3, 2, 0]


def test_a_set_with_several_labels_a_picture_is_not_for_training(tmp_path, monkeypatch):
    prepare(TinyReal(data_dir=tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match="for evaluation only"):
        load_data("tiny_real", split_train="validation")


def test_classes_are_matched_by_name():
    data = held_out(answers((2, 0, 1)), [0])
    found = evaluate(Oracle(["cat", "dog", "ant", "bee"]), data)
    assert found.top1 == 1
    missed = evaluate(Oracle(["ant", "dog", "bee", "cat"]), held_out(answers((1, 0, 2)), [0]))
    assert missed.confusion.tolist() == [[0, 0, 0, 1], [0] * 4, [0] * 4]


def test_a_network_of_imagenet_is_tried_on_some_of_its_classes():
    source = PixelSource(answers((0, 1, 2)), [0])
    ids = ("n01443537", "n01440764")  # classes 1 and 0
    data = Dataset(
        "some",
        train=None,
        test=source,
        class_names=("goldfish", "tench"),
        class_ids=ids,
        input_size=SIZE,
    )
    mapping = class_of_output(Oracle(imagenet_class_names()), data)
    assert mapping[:3].tolist() == [1, 0, 2]
    assert set(mapping[2:]) == {2}


def test_a_network_without_names_has_the_classes_of_the_data_set():
    mapping = class_of_output(
        Oracle([f"class {n}" for n in range(3)]), held_out(answers((0, 0, 0)), [0])
    )
    assert mapping.tolist() == [0, 1, 2]


def test_classes_that_the_network_has_not_are_refused():
    with pytest.raises(ValueError, match=r"1 of its 3 classes are not among the model's 2"):
        evaluate(Oracle(["ant", "bee"]), held_out(answers((0, 0, 0)), [0]))


def test_no_folder_of_a_class_of_the_model_is_an_error_that_shows_both_lists():
    data = held_out(answers((0, 0, 0)), [0])
    model = Oracle(["x", "y", "z"])
    with pytest.raises(
        ValueError, match=r"such as 'ant'\. .*: ant, bee, cat; the model's: x, y, z\. .*--by_order"
    ):
        evaluate(model, data)
    assert evaluate(model, data, by_order=True).top1 == 1


def test_lists_of_different_lengths_cannot_be_taken_in_the_same_order():
    data = held_out(answers((0, 0, 0)), [0])
    with pytest.raises(ValueError, match="cannot be taken in the same order"):
        evaluate(Oracle(["ant", "bee"]), data, by_order=True)


@pytest.mark.parametrize(
    ("model", "dataset", "split", "expected"),
    [
        ("LeViT256", "imagenet2012", None, 81.6),
        ("runs/levit_128s-int8.tflite", "tfds:imagenet2012:5.1.0", "validation", 76.6),
        ("LeViT-384.keras", "cifar10", None, 98.0),
        ("LeViT256", "imagenet2012", "train", None),
        ("LeViT256", "imagenet2012_real", None, None),
        ("final.keras", "imagenet2012", None, None),
        ("LeViTTiny", "imagenet2012", None, None),
    ],
)
def test_the_papers_figure_is_shown_where_there_is_one(model, dataset, split, expected):
    assert paper_top1(model, dataset, split) == expected


def onnx_file(path, inputs=INPUT, outputs=(LOGITS, PROBABILITIES), batch="batch"):
    """The mean colour of a picture, as logits of three classes."""
    nodes = [
        helper.make_node("ReduceMean", [inputs], [LOGITS], axes=[1, 2], keepdims=0),
        helper.make_node("Softmax", [LOGITS], [PROBABILITIES], axis=1),
    ]
    kind = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "mean_colour",
        [helper.make_tensor_value_info(inputs, kind, [batch, *SIZE, 3])],
        [helper.make_tensor_value_info(name, kind, [batch, 3]) for name in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("batch", ["batch", 2])
@pytest.mark.parametrize("outputs", [(LOGITS, PROBABILITIES), (LOGITS,)])
def test_onnx_files_are_read_like_the_others(tmp_path, outputs, batch):
    images = np.random.default_rng(0).integers(0, 9, (5, *SIZE, 3)).astype(np.uint8)
    logits = images.mean(axis=(1, 2))
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    predictor = load_predictor(onnx_file(tmp_path / "mean.onnx", outputs=outputs, batch=batch))
    assert (predictor.input_size, predictor.classes) == (SIZE, 3)
    np.testing.assert_allclose(predictor.predict(images), expected, rtol=1e-4)


def test_an_onnx_file_with_other_names_is_refused(tmp_path):
    path = onnx_file(tmp_path / "other.onnx", inputs="x")
    with pytest.raises(ModelFileError, match=r"other\.onnx: expected .*'images'.*Found.*'x'"):
        load_predictor(path)


def test_a_damaged_onnx_file_is_named(tmp_path):
    (tmp_path / "half.onnx").write_bytes(b"\x08\x08 no graph")
    with pytest.raises(ModelFileError, match=r"half\.onnx: cannot be loaded as an ONNX file"):
        load_predictor(tmp_path / "half.onnx")


def test_without_onnx_runtime_the_extra_is_named(tmp_path, monkeypatch):
    path = onnx_file(tmp_path / "mean.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"levit_tf\[onnx\]"):
        load_predictor(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set of three classes, one picture of which cannot be read."""
    root = tmp_path_factory.mktemp("folder")
    write_folder(root, 4, parts=("val",))
    (root / "val" / "ant" / "broken.png").write_bytes(broken_png(99))
    Image.new("RGB", (40, 40), "red").save(root / "val" / "bee" / "red.png")
    return root


@pytest.mark.slow
def test_a_network_and_its_exports_have_the_same_accuracy(folder, tmp_path):
    keras.utils.set_random_seed(0)
    model = levit_tf.LeViT("LeViTTiny", classes=3, classifier_activation="softmax")
    randomize_keras(model)
    model.save(tmp_path / "levit.keras")
    to_saved_model(model, tmp_path / "saved_model", class_names=CLASSES)
    data = load_data(f"imagefolder:{folder}", input_size=SIZE)
    found = [
        evaluate(load_predictor(tmp_path / name, CLASSES), data)
        for name in ("levit.keras", "saved_model")
    ]
    assert found[0].pictures == found[1].pictures == 13
    np.testing.assert_array_equal(found[0].confusion, found[1].confusion)


def test_the_command_prints_a_table_and_writes_what_it_found(folder, tmp_path, run_command):
    onnx_file(tmp_path / "mean.onnx")
    (tmp_path / "labels.txt").write_text("\n".join(CLASSES))
    result = run_command(
        "training.evaluate",
        *(f"--model={tmp_path / 'mean.onnx'}", f"--dataset=imagefolder:{folder}"),
        f"--output={tmp_path / 'out'}",
    )
    assert result.returncode == 0, result.stderr
    assert "| mean.onnx |" in result.stdout
    assert result.stdout.startswith(f"imagefolder:{folder}: 14 pictures, 3 classes: ant 5, bee 5")
    assert "  evaluated: 14, from val/" in result.stdout
    assert "1 of 14 pictures left out" in result.stdout
    assert "broken.png: truncated or damaged" in result.stderr
    summary = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert summary["pictures"] == 13
    text = (tmp_path / "out" / "per_class.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert [(row["name"], row["pictures"]) for row in rows] == [
        ("ant", "4"),
        ("bee", "5"),
        ("cat", "4"),
    ]
    right = sum(int(row["correct"]) for row in rows)
    assert summary["top1"] == pytest.approx(right / 13)
    assert load_image(tmp_path / "out" / "confusion.png").shape[1] > 500
