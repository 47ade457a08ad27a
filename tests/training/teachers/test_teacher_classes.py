"""A teacher's classes by name: ImageNet's, those of a file, and several for one."""

import json

import numpy as np
import pytest
import tensorflow as tf

from levit_lite.class_names import imagenet_class_names
from training.teachers.classes import class_map

PETS = [("n02123045", "tabby cat"), ("n02088364", "beagle")]
OWN = ["beagle", "cow", "tabby"]
LOGITS = tf.constant([[1.0, 2.0, 3.0], [0.5, -1.0, 4.0]])


def write(folder, name, content):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_imagenet_classes_are_found_by_their_wordnet_ids():
    found, text = class_map(PETS, 1000)
    names = imagenet_class_names()
    assert [names[n] for (n,) in found.members] == ["tabby", "beagle"]
    assert "2 of its 1000 classes" in text
    logits = tf.random.normal([3, 1000])
    np.testing.assert_array_equal(found(logits), tf.gather(logits, [281, 162], axis=1))


def test_imagenet_classes_are_found_by_their_names():
    found, _ = class_map([("tench",), ("goldfish",)], 1000)
    assert found.members == ((0,), (1,))


@pytest.mark.parametrize(("space", "more"), [("_", ""), (" ", ", and other names")])
def test_imagenet_classes_that_a_file_names_are_found_by_their_wordnet_ids(space, more):
    own = [name.replace("_", space) + more for name in imagenet_class_names()]
    assert class_map(PETS, 1000, own=own)[0].members == class_map(PETS, 1000)[0].members
    with pytest.raises(ValueError, match="has no class 'n02123045'"):
        class_map(PETS, 1000, own=own[::-1])


def test_a_file_of_names_says_the_order(tmp_path):
    labels = write(tmp_path, "labels.txt", "beagle\ncow\nn02123045\n")
    found, _ = class_map(PETS, 3, file=labels)
    assert found.members == ((2,), (0,))


def test_a_json_file_joins_classes(tmp_path):
    table = write(tmp_path, "m.json", {"tabby cat": ["tabby", 1], "n02088364": "beagle"})
    found, _ = class_map(PETS, 3, own=OWN, file=table)
    expected = np.stack([np.log(np.exp(LOGITS[:, 1:]).sum(1)), LOGITS[:, 0]], axis=1)
    np.testing.assert_allclose(found(LOGITS), expected, rtol=1e-6)


def test_names_in_another_order_are_put_in_order():
    names = [(name,) for name in OWN]
    assert class_map(names, 3, own=OWN)[0] is None
    found, _ = class_map(names, 3, own=OWN[::-1])
    assert found.members == ((2,), (1,), (0,))


def test_letters_of_one_character_and_of_two_are_the_same_name():
    found, _ = class_map([("Hu\u0308ndin",), ("beagle",)], 2, own=["beagle", "H\u00fcndin"])
    assert found.members == ((1,), (0,))


def test_a_file_of_other_names_than_the_teachers_own_is_taken_and_it_is_said(tmp_path):
    file = write(tmp_path, "names.txt", "a\nb\nc\n")
    names = [("a",), ("b",), ("c",)]
    assert class_map(names, 3, file=file)[1] == "the same classes"
    found, text = class_map(names, 3, own=OWN, file=file)
    assert found is None
    assert text == f"the same classes, by {file}, although the teacher itself has others"


def test_as_many_classes_of_other_names_are_refused_and_the_way_out_is_named():
    with pytest.raises(ValueError, match=r"has no class 'a' nor 2 more.*teacher_classes=FILE"):
        class_map([("a",), ("b",), ("c",)], 3, own=OWN)


def test_as_many_classes_without_names_are_taken_in_order_and_it_is_said():
    found, text = class_map([("a",), ("b",), ("c",)], 3)
    assert found is None
    assert "in the order of the student's" in text


@pytest.mark.parametrize("name", ["Golf ball", "golf-ball", "GOLF_BALL"])
def test_case_and_separators_of_a_name_do_not_matter(name):
    golf_ball = imagenet_class_names().index("golf_ball")
    assert class_map([(name,), ("tench",)], 1000)[0].members == ((golf_ball,), (0,))


def test_a_name_that_two_classes_share_but_for_case_is_not_guessed():
    own = ["Polish", "polish", "cow"]
    assert class_map([("polish",), ("Cow",)], 3, own=own)[0].members == ((1,), (2,))
    with pytest.raises(ValueError, match="has no class 'POLISH'"):
        class_map([("POLISH",), ("cow",)], 3, own=own)


def test_a_file_may_give_several_names_of_a_class(tmp_path):
    labels = write(tmp_path, "labels.txt", "n1\tbeagle\nn2\tcow\nn3\ttabby cat\n")
    assert class_map(PETS, 3, file=labels)[0].members == ((2,), (0,))
    assert class_map([("n2",), ("n1",)], 3, file=labels)[0].members == ((1,), (0,))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.txt", "beagle\ncow\n", r"m.txt: 2 names for a teacher of 3 classes"),
        ("m.txt", "beagle\ncow\ntiger\n", r"has no class 'n02123045'.*teacher_classes"),
        ("m.json", "{", r"m.json: cannot be read as JSON"),
        ("m.json", [], r"m.json: expected an object"),
        ("m.json", {"tabby cat": "tabby"}, r"m.json: says nothing of the class 'n02088364'"),
        ("m.json", {"tabby cat": "tabi", "beagle": 0}, r"'tabi' is no class.*Did you mean 'tabby'"),
        ("m.json", {"tabby cat": 3, "beagle": 0}, r"'tabby cat': 3 is no class.*0\.\.2"),
        ("m.json", {"tabby cat": [], "beagle": 0}, r"'tabby cat' has no class of the teacher"),
    ],
)
def test_a_file_that_does_not_fit_is_named(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message):
        class_map(PETS, 3, own=OWN, file=write(tmp_path, name, content))


def test_a_teacher_with_more_names_than_classes_is_refused():
    with pytest.raises(ValueError, match="the teacher: 3 class names for a model of 2 classes"):
        class_map(PETS, 2, own=OWN, teacher="the teacher")


def test_other_classes_without_a_file_are_refused():
    with pytest.raises(ValueError, match=r"7 classes; the student has 2.*teacher_classes=FILE"):
        class_map(PETS, 7)
    with pytest.raises(ValueError, match=r"has no class 'zzebra'.*Did you mean"):
        class_map([("zzebra",), ("tench",)], 1000)
