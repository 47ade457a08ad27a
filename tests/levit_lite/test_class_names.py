"""Class names come without a download and fit the network, or are refused."""

import keras
import numpy as np
import pytest

from levit_lite.class_names import check_class_names, imagenet_class_names, read_labels, top_classes
from levit_tf.class_names import decode_predictions


def test_imagenet_names_are_those_of_keras_applications():
    names = imagenet_class_names()
    assert len(names) == 1000
    # As keras.applications' decode_predictions shows them; the table of all 1000 was compared.
    known = {0: "tench", 2: "great_white_shark", 134: "crane", 517: "crane", 281: "tabby"}
    known |= {
        263: "Pembroke",
        639: "maillot",
        707: "pay-phone",
        925: "consomme",
        999: "toilet_tissue",
    }
    assert {index: names[index] for index in known} == known


def test_predictions_are_decoded_best_first():
    preds = np.zeros((2, 1000), np.float32)
    preds[0, [1, 0, 999]] = 0.5, 0.3, 0.2
    preds[1, 281] = 1.0
    first, second = decode_predictions(preds, top=3)
    assert first == [
        ("n01443537", "goldfish", np.float32(0.5)),
        ("n01440764", "tench", np.float32(0.3)),
        ("n15075141", "toilet_tissue", np.float32(0.2)),
    ]
    assert second[0] == ("n02123045", "tabby", 1.0)
    assert [name for _, name, _ in second[1:]] == ["tench", "goldfish"]  # equal: in class order


def test_five_classes_are_named_by_default_and_tensors_are_taken():
    (decoded,) = decode_predictions(keras.ops.ones((1, 1000)))
    assert len(decoded) == 5


@pytest.mark.parametrize("shape", [(1000,), (1, 10), (1, 1000, 1)])
def test_predictions_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"shape \(batch, 1000\). Received: shape \("):
        decode_predictions(np.zeros(shape))


@pytest.mark.parametrize("top", [0, -1, 4])
def test_top_must_be_a_number_of_classes(top):
    with pytest.raises(ValueError, match=rf"top must lie in 1..3.* Received: {top}"):
        top_classes(np.zeros((1, 3)), top)


def test_labels_are_read_one_a_line(tmp_path):
    labels = tmp_path / "labels.txt"
    # As macOS writes it, a letter and its accent are two characters.
    labels.write_text("\ufeffNull\r\nŁo\u0301dz\u0301\r\ntwo words \r\n\r\n", encoding="utf-8")
    assert read_labels(labels) == ["Null", "Łódź", "two words"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "labels.txt: cannot be read as class names, one a line: No such file"),
        (b"", "labels.txt: holds no class names"),
        (b" \n\n", "labels.txt: holds no class names"),
        (b"a\n\nb\n", "labels.txt: line 2 is empty"),
        (b"\xff\xfe\x00a", "labels.txt: cannot be read as class names, one a line: not UTF-8 text"),
    ],
)
def test_unusable_labels_are_refused(tmp_path, content, message):
    labels = tmp_path / "labels.txt"
    if content is not None:
        labels.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_labels(labels)


def test_there_must_be_one_name_for_each_class():
    assert check_class_names(("a", "b"), 2, "here") == ["a", "b"]
    with pytest.raises(ValueError, match="here: 2 class names for a model of 3 classes"):
        check_class_names(("a", "b"), 3, "here")


@pytest.mark.parametrize("name", ["\x1b[2Jcat", "cat\x07", "a\tb", "\x9b31m", "\x7f"])
def test_control_characters_which_terminals_act_on_are_refused(name, tmp_path):
    (tmp_path / "labels.txt").write_text(f"dog\n{name}x\nbird\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"labels.txt: class name 2 of 3 holds control") as caught:
        read_labels(tmp_path / "labels.txt")
    assert str(caught.value).isprintable()
    with pytest.raises(ValueError, match=r"somewhere: class name 1 of 1 holds control"):
        check_class_names([name], 1, "somewhere")


def test_names_of_all_languages_are_taken():
    names = [
        "Käse",
        "\u0645\u06cc\u200c\u062e",
        "猫",
        "no\u00a0break",
        "\U0001f469\u200d\U0001f680",
    ]
    assert check_class_names(names, 5, "somewhere") == names
