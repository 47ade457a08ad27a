"""`python -m levit_tf.classify` names what is in pictures, and says which it could not read."""

import re

import keras
import numpy as np
import pytest
from PIL import Image

import levit_tf
from levit_lite.prediction.predictor import BATCH_SIZE
from levit_tf import classify
from levit_tf.pictures.images import load_images
from levit_tf.prediction.predictor import load_predictor
from tests.support.commands import call, run_process

NAMES = ("ant", "bee", "a long name", "dragonfly")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    # A linear network: what reads and runs the real ones is tested in test_predictor.py.
    path = tmp_path_factory.mktemp("model") / "linear.keras"
    layers = [keras.Input((32, 32, 3)), keras.layers.Flatten()]
    layers.append(keras.layers.Dense(len(NAMES), activation="softmax"))
    levit_tf.with_properties(keras.Sequential(layers), input_range="normalized").save(path)
    path.with_name("labels.txt").write_text("\n".join(NAMES))
    return str(path)


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    paths = []
    for name, size in (("one.png", (40, 60)), ("two.jpg", (100, 33)), ("three.webp", (32, 32))):
        paths.append(str(tmp_path / name))
        Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)).save(paths[-1])
    return paths


def parsed(output):
    """The output as [(picture, [(percent, name), ...]), ...]."""
    found = []
    for line in output.splitlines():
        row = re.fullmatch(r"  ([ \d]{3}\.\d\d) %  (.+)", line)
        if row:
            found[-1][1].append((float(row[1]), row[2]))
        else:
            found.append((line, []))
    return found


def test_each_picture_is_named_with_the_likeliest_classes(model, pictures, capsys):
    assert call(classify, [f"--model={model}", "--top=3", *pictures]) == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    predictor = load_predictor(model)
    expected = 100 * predictor.predict(load_images(pictures, predictor.input_size))
    results = parsed(output)
    assert [picture for picture, _ in results] == pictures
    for (_, rows), row in zip(results, expected, strict=True):
        assert [name for _, name in rows] == [NAMES[n] for n in np.argsort(-row)[:3]]
        np.testing.assert_allclose(
            [percent for percent, _ in rows], np.sort(row)[:0:-1], atol=0.006
        )


def test_five_classes_or_as_many_as_there_are_by_default(model, pictures, capsys):
    assert call(classify, [f"--model={model}", pictures[0]]) == 0
    ((_, rows),) = parsed(capsys.readouterr().out)
    assert {name for _, name in rows} == set(NAMES)
    assert sum(percent for percent, _ in rows) == pytest.approx(100, abs=0.03)


def test_labels_may_be_given(model, pictures, tmp_path, capsys):
    labels = tmp_path / "mine.txt"
    labels.write_text("w\nx\ny\nz")
    assert call(classify, [f"--model={model}", f"--labels={labels}", "--top=4", pictures[0]]) == 0
    ((_, rows),) = parsed(capsys.readouterr().out)
    assert {name for _, name in rows} == set("wxyz")


def test_a_bad_picture_does_not_keep_the_others_from_being_classified(
    model, pictures, tmp_path, capsys
):
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    missing = str(tmp_path / "missing.png")
    assert call(classify, [f"--model={model}", pictures[0], str(text), missing, *pictures[1:]]) == 1
    output, errors = capsys.readouterr()
    assert [picture for picture, _ in parsed(output)] == pictures
    first, second = errors.splitlines()
    assert first.startswith(f"error: {text}: no picture, or damaged")
    assert second == f"error: {missing}: no such file."


def test_a_network_that_answers_nan_is_an_error_that_names_it(model, pictures, tmp_path, capsys):
    network = keras.models.load_model(model)
    (bias,) = (variable for variable in network.weights if variable.name == "bias")
    bias.assign([0, np.nan, 0, 0])
    path = tmp_path / "diverged.keras"
    network.save(path)
    assert call(classify, [f"--model={path}", *pictures]) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith(f"error: {path}: the network answers NaN for 3 of 3 pictures: ")


def test_only_bad_pictures(model, tmp_path, capsys):
    assert call(classify, [f"--model={model}", str(tmp_path)]) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith(f"error: PICTURE: no pictures in '{tmp_path}'")


def test_a_folder_stands_for_the_pictures_in_it(model, pictures, tmp_path, capsys):
    (tmp_path / "empty.jpg").touch()
    assert call(classify, [f"--model={model}", str(tmp_path)]) == 0
    output, errors = capsys.readouterr()
    assert [picture for picture, _ in parsed(output)] == sorted(pictures)
    assert f"{tmp_path / 'empty.jpg'}: empty (0 bytes)" in errors


def test_more_pictures_than_a_batch_with_repetitions(model, pictures, capsys):
    many = (pictures * BATCH_SIZE)[: BATCH_SIZE + 2]
    assert call(classify, [f"--model={model}", "--top=1", *many]) == 0
    results = parsed(capsys.readouterr().out)
    assert [picture for picture, _ in results] == many
    assert all(rows == results[n % 3][1] for n, (_, rows) in enumerate(results))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model=nothing"], "error: nothing: no such file, and no variant. Expected a .keras"),
        (["--model=nothing"], "LeViT384, LeViTMini."),  # those with weights
        (["--model=x.tflite"], "error: x.tflite: no such file. Expected a .keras"),
        (
            ["--model=LeViTTiny"],
            "error: LeViTTiny: no such file, and a variant without weights. Expected",
        ),
        (["--model={model}", "--labels=nowhere.txt"], "error: nowhere.txt: cannot be read"),
        (["--model={model}", "--labels={two}"], "2 class names for a model of 4 classes"),
    ],
)
def test_a_bad_model_or_bad_labels_are_an_error(
    model, pictures, tmp_path, capsys, arguments, message
):
    two = tmp_path / "two.txt"
    two.write_text("a\nb")
    filled = [argument.format(model=model, two=two) for argument in arguments]
    assert call(classify, [*filled, *pictures]) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("error: ")
    assert message in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["picture.jpg"], "Flag --model must have a value"),
        (["--model=m.keras"], "Missing arguments: PICTURE"),
        (["--model=m.keras", "--top=0", "picture.jpg"], "--top=0: 0 is not a positive integer"),
        (["--model=m.keras", "--top=many", "picture.jpg"], "--top=many: invalid literal"),
        (["--model=m.keras", "--size=3", "picture.jpg"], "Unknown command line flag 'size'"),
    ],
)
def test_misuse_is_one_line_and_exit_code_1(arguments, message, capsys):
    assert call(classify, arguments) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert message in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.slow
def test_it_runs_as_a_module_and_knows_the_layers_of_the_train_form(pictures, tmp_path):
    model = tmp_path / "tiny.keras"
    levit_tf.LeViT("LeViTTiny", classes=10).save(model)
    missing = tmp_path / "missing.png"
    finished = run_process("levit_tf.classify", f"--model={model}", "--top=1", pictures[0], missing)
    assert finished.returncode == 1
    assert [picture for picture, _ in parsed(finished.stdout)] == pictures[:1]
    assert finished.stderr == f"error: {missing}: no such file.\n"
