"""Dynamic files say on each path what Keras says, skip the rest, and can be calibrated again."""

import gzip
import json
import shutil

import numpy as np
import onnx
import pytest
from PIL import Image

import levit_tf
from converters import recalibrate as recalibrate_command
from converters import to_dynamic as to_dynamic_command
from converters.dynamic import conversion
from converters.dynamic.conversion import to_dynamic
from converters.dynamic.graph import dynamic_graph
from converters.dynamic.paths import forcing, references
from converters.dynamic.recalibration import recalibrate, set_by_hand
from converters.dynamic.record import served_calibration
from converters.dynamic.running import open_dynamic
from converters.reporting.report_graph import read_tflite
from converters.reporting.report_text import as_text
from levit_common.regular_files import ModelFileError
from levit_common.shipped_names import EXIT
from levit_lite.images import load_cropped
from levit_tf import classify
from levit_tf.pictures.labelled_pictures import labelled_pictures
from levit_tf.prediction.predictor import load_predictor
from serving.web_app import __main__ as web_app
from tests.support.commands import call, run_process
from tests.support.randomize import random_images, randomize_keras, with_random_exits

NAMES = ["ant", "bee", "cat", "dog", "elk"]
SIZE = (64, 64)
FILES = ("fp32.tflite", "int8.tflite", "saved_model", "model.onnx")
EXACT = ("fp32.tflite", "saved_model", "model.onnx")


def network(variant="LeViTNano", seed=1, names=NAMES):
    model = levit_tf.LeViT(variant, classes=len(names), input_shape=SIZE[0])
    randomize_keras(model, seed=seed)
    return levit_tf.with_properties(model, class_names=names)


@pytest.fixture(scope="module")
def exits():
    return with_random_exits(network())


@pytest.fixture(scope="module")
def folder(tmp_path_factory, exits):
    """Pictures of each class, labelled as the whole network sees them, but for one in ten."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    images = np.concatenate(
        [rng.integers(0, 256, (30, 4, 4, 3)).repeat(16, 1).repeat(16, 2), random_pixels(70)]
    )
    predictor = levit_tf.preprocess_input(images.astype(np.float32))
    labels = exits.predict(predictor, verbose=0)["head"].argmax(1)
    labels[::10] = rng.integers(0, len(NAMES), 10)
    for name in NAMES:
        (root / name).mkdir()
    for n, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image.astype(np.uint8)).save(root / NAMES[label] / f"{n:03}.png")
    for name in NAMES:  # so that no class is without
        if not any((root / name).iterdir()):
            Image.fromarray(images[0].astype(np.uint8)).save(root / name / "000.png")
    return root


def random_pixels(count):
    x = random_images(SIZE, count, seed=5)
    return (255 * (x - x.min()) / (x.max() - x.min())).round()


@pytest.fixture(scope="module")
def pictures(folder):
    return labelled_pictures(folder, NAMES, SIZE)


@pytest.fixture(scope="module")
def written(tmp_path_factory, exits, pictures):
    path = tmp_path_factory.mktemp("dynamic") / "exits"
    record = to_dynamic([exits], path, pictures=pictures, epsilon=0.1, class_names=NAMES)
    return path, record


@pytest.fixture(scope="module")
def images(pictures):
    return next(pictures.batches())[0][:6]


@pytest.mark.slow
def test_a_tflite_file_says_on_each_path_what_keras_says(exits, pictures, images, tmp_path):
    only = {"formats": ["tflite"], "recipes": ["fp32"]}
    to_dynamic([exits], tmp_path / "exits", pictures=pictures, epsilon=0.1, **only)
    _check_each_path(tmp_path / "exits" / "fp32.tflite", exits, images)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_each_path_of_each_file_says_what_keras_says(written, exits, images, name):
    _check_each_path(written[0] / name, exits, images)


@pytest.mark.slow
def test_exits_behind_blocks_are_met_in_their_order(pictures, images, tmp_path):
    exits = with_random_exits(network(), {1: "pool", 0: "attention", "0.0": "pool"})
    record = to_dynamic([exits], tmp_path / "exits", pictures=pictures, epsilon=0.1)
    assert record["steps"] == ["exits_0_0", "exits_0", "exits_1", "head"]
    for name in FILES:
        _check_each_path(tmp_path / "exits" / name, exits, images)


def _check_each_path(path, exits, images):
    file = open_dynamic(path)
    assert file.steps == len(exits.output)
    for step, reference in enumerate(references([exits])):
        expected = reference.outputs(images)["logits"]
        found = [file.answer(image[None], forcing(step, file.steps)) for image in images]
        assert {int(one.exits[0]) for one in found} == {step}
        logits = np.concatenate([one.logits for one in found])
        largest = np.abs(expected).max()
        tolerance = 1e-4 if path.name in EXACT else 0.2
        assert np.abs(logits - expected).max() < tolerance * largest


@pytest.mark.slow
def test_tflite_paths_are_to_the_bit_the_plain_graph(written, exits, images):
    from ai_edge_litert.interpreter import Interpreter

    from converters.tflite.conversion import float32_graph

    plain = Interpreter(model_content=float32_graph(dynamic_graph([exits], 1)).content())
    plain = plain.get_signature_runner("serving_default")
    file = open_dynamic(written[0] / "fp32.tflite")
    for image in images:
        expected = plain(images=image[None])
        for step in range(3):
            found = file.answer(image[None], forcing(step, 3)).logits
            np.testing.assert_array_equal(found, expected[f"logits_{step}"])


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_the_thresholds_inside_decide(written, images, name):
    file, record = open_dynamic(written[0] / name), written[1]
    key = "int8" if name.startswith("int8") else "fp32"
    thresholds = np.float32(record["calibration"][key]["thresholds"])
    temperatures = record["calibration"][key]["temperatures"]
    for image in images:
        given, inside = file.answer(image[None], thresholds), file.plain(image[None])
        np.testing.assert_array_equal(inside[1], given.exits)
        np.testing.assert_array_equal(inside[0], given.probabilities)
        step = int(given.exits[0])
        scaled = given.logits / (temperatures[step] if step < 2 else 1)
        expected = np.exp(scaled - scaled.max()) / np.exp(scaled - scaled.max()).sum()
        np.testing.assert_allclose(given.probabilities, expected, atol=1e-5)


@pytest.mark.slow
def test_a_batch_of_the_saved_model_is_answered_as_row_by_row(written, pictures):
    file = open_dynamic(written[0] / "saved_model")
    images = next(pictures.batches())[0]
    all_found = [file.answer(image[None], forcing(0, 3)).probabilities.max() for image in images]
    thresholds = np.float32([np.median(all_found), 0.5])
    together = file.answer(images, thresholds)
    alone = [file.answer(image[None], thresholds) for image in images]
    assert len(set(together.exits)) > 1
    np.testing.assert_array_equal(together.exits, np.concatenate([a.exits for a in alone]))
    expected = np.concatenate([a.logits for a in alone])
    np.testing.assert_allclose(together.logits, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_predictor_tells_classes_and_exits(written, images):
    for name in FILES:
        predictor = load_predictor(written[0] / name)
        assert predictor.class_names == NAMES
        scores, exits = predictor.predict_with_exits(images)
        assert scores.shape == (6, 5)
        assert exits.shape == (6,)
        assert set(exits) <= {0, 1, 2}


@pytest.mark.slow
def test_classify_prints_the_exit(written, folder, capsys):
    path = next(folder.rglob("*.png"))
    assert call(classify, [f"--model={written[0] / 'fp32.tflite'}", path]) == 0
    assert "  (exit " in capsys.readouterr().out.splitlines()[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fp32.tflite", "int8.tflite"])
def test_a_small_device_tells_the_exit_of_each_picture(written, folder, tmp_path, name):
    shutil.copytree(written[0], tmp_path / "copy")
    path = tmp_path / "copy" / name
    paths = sorted(folder.rglob("*.png"))[::8]
    images = [load_cropped(picture, SIZE) for picture in paths]
    file = open_dynamic(path)
    first = [file.answer(image[None], forcing(0, 3)).probabilities.max() for image in images]
    set_by_hand(path, [min(float(np.median(first)), 0.999), 0.99])  # so that not all leave early
    scores, exits = load_predictor(path).predict_with_exits(images)
    assert len(set(exits)) > 1
    done = run_process("serving.edge", f"--model={path}", "--top=1", *paths)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line[EXIT] for line in found] == list(exits)
    assert [line["top"][0]["index"] for line in found] == list(scores.argmax(axis=1))


@pytest.mark.slow
def test_a_file_of_steps_is_refused_where_one_call_must_answer(written, folder, tmp_path, capsys):
    model, picture = f"--model={written[0] / 'fp32-steps.tflite'}", next(folder.rglob("*.png"))
    said = "fp32-steps.tflite: a dynamic file of 3 steps, for apps that stop when their time is up"
    done = run_process("serving.edge", model, picture)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    for command, argument in ((web_app, f"--output={tmp_path / 'site'}"), (classify, picture)):
        assert call(command, [model, argument]) == 1
        assert said in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


@pytest.mark.slow
def test_a_cascade_is_one_file_too(tmp_path, pictures, images):
    models = [network("LeViTTiny", 3), network()]
    record = to_dynamic(
        models, tmp_path / "cascade", pictures=pictures, epsilon=0.2, recipes=("fp32",)
    )
    assert record["steps"] == ["LeViTTiny", "LeViTNano"]
    for name in EXACT:
        file = open_dynamic(tmp_path / "cascade" / name)
        for step, model in enumerate(models):
            found = file.answer(images[:1], forcing(step, 2)).probabilities
            expected = model.predict(levit_tf.preprocess_input(images[:1]), verbose=0)
            if step == 1:  # the first has a temperature
                np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_new_thresholds_reach_the_file_and_its_record(written, tmp_path, images, pictures, name):
    shutil.copytree(written[0], tmp_path / "copy")
    path = tmp_path / "copy" / name
    set_by_hand(path, [0.97, 0.96])
    file = open_dynamic(path)
    for image in images:
        given = file.answer(image[None], np.float32([0.97, 0.96]))
        np.testing.assert_array_equal(file.plain(image[None])[1], given.exits)
        np.testing.assert_array_equal(file.plain(image[None])[0], given.probabilities)
    record = json.loads((path.parent / "dynamic.json").read_text())
    assert record["calibration"][name]["thresholds"] == [0.97, 0.96]
    if name == "saved_model":
        with pytest.raises(ValueError, match="thresholds of saved_model were set by hand"):
            served_calibration(path.parent)
    found = recalibrate(path, pictures, epsilon=0.3)
    record = json.loads((path.parent / "dynamic.json").read_text())
    assert record["calibration"][name]["thresholds"] == list(found.thresholds)
    assert record["calibration"][name]["data"]["sha256"] == pictures.sha256()
    served, calibration = served_calibration(path.parent)
    assert served == ("saved_model" if name == "saved_model" else "fp32")
    if name == "saved_model":
        assert calibration.thresholds == found.thresholds
    assert load_predictor(path).class_names == NAMES  # nothing else was lost


@pytest.mark.slow
def test_a_tflite_file_says_nothing_of_itself_that_new_thresholds_would_make_wrong(written):
    content = (written[0] / "fp32.tflite").read_bytes()
    assert b"fp32; leaves early by its thresholds, of which dynamic.json tells." in content
    assert b"with confidence" not in content


@pytest.mark.slow
def test_a_time_is_kept_or_said_to_be_impossible(written, tmp_path, pictures):
    shutil.copytree(written[0], tmp_path / "copy")
    path = tmp_path / "copy" / "fp32.tflite"
    found = recalibrate(path, pictures, budget_ms=1000.0)
    assert found.thresholds == (2.0, 2.0)  # no need to leave early
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"nothing keeps to it: the shortest path takes .* ms"):
        recalibrate(path, pictures, budget_ms=1e-6)
    assert path.read_bytes() == before


@pytest.mark.slow
def test_pictures_that_training_has_seen_are_refused(exits, folder, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    exits.save(run / "final.keras")
    seen = next(folder.rglob("*.png"))
    line = ["training", f"train/{seen.parent.name}/{seen.name}", 0, seen.stat().st_size]
    with gzip.open(run / "pictures.json.gz", "wt") as file:
        file.write(json.dumps(line) + "\n")
    data = shutil.copytree(folder, tmp_path / "data" / "test").parent
    arguments = [f"--models={run}", f"--calibration=imagefolder:{data}", "--epsilon=0.1"]
    assert call(to_dynamic_command, [*arguments, f"--output={tmp_path / 'out'}"]) == 1
    message = capsys.readouterr().err
    assert "1 of " in message
    assert f"training has seen ({run / 'pictures.json.gz'})" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_what_cannot_work_is_refused_and_leaves_nothing(exits, pictures, folder, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"too few for epsilon=0.001.*at least \d+ are needed"):
        to_dynamic([exits], out, pictures=pictures, epsilon=0.001, formats=("onnx",))
    with pytest.raises(ValueError, match="has no exits: train them"):
        to_dynamic([network()], out, pictures=pictures, epsilon=0.1)
    other = network(names=[*NAMES[:4], "fox"])
    with pytest.raises(ValueError, match="class 4 is 'elk' in LeViTNano and 'fox' in LeViTNano"):
        to_dynamic([network(), other], out, pictures=pictures, epsilon=0.1)
    fewer = network(names=NAMES[:4])
    with pytest.raises(ValueError, match="knows 5, LeViTNano takes 64x64x3 and knows 4"):
        to_dynamic([network(), fewer], out, pictures=pictures, epsilon=0.1)
    with pytest.raises(ValueError, match=r"the folder 'elk' is none of the network's 4 classes"):
        labelled_pictures(folder, NAMES[:4], SIZE)
    assert not out.exists()


@pytest.mark.slow
def test_a_path_that_is_wrong_is_not_written(exits, pictures, tmp_path, monkeypatch):
    real = conversion.tflite_branches.with_branches

    def wrong(graph, sharpness, thresholds):
        kernel = next(n for n in graph.tensors if "exits_1" in n and graph.is_constant(n))
        graph.set_constant(kernel, graph.constant(kernel) + 1)
        return real(graph, sharpness, thresholds)

    monkeypatch.setattr(conversion.tflite_branches, "with_branches", wrong)
    with pytest.raises(ValueError, match="not written, as it does not compute what the Keras"):
        to_dynamic([exits], tmp_path / "out", pictures=pictures, epsilon=0.1, formats=("tflite",))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("thresholds", "message"),
    [([1.5, 0.5], "between 0 and 1. Received: 1.5"), ([0.5], "has 3 steps, and so 2 thresholds")],
)
def test_thresholds_out_of_range_are_refused(written, thresholds, message):
    with pytest.raises(ValueError, match=message):
        set_by_hand(written[0] / "model.onnx", thresholds)


@pytest.mark.slow
def test_other_files_are_no_dynamic_ones(written, tmp_path):
    for name in ("fp32-steps.tflite",):
        with pytest.raises(ModelFileError, match="no dynamic file"):
            open_dynamic(written[0] / name)
    with pytest.raises(FileNotFoundError, match=r"which converters\.to_dynamic writes"):
        open_dynamic(tmp_path / "none.onnx")


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (to_dynamic_command, ["--epsilon=2"], "--epsilon must lie between 0 and 1. Received: 2"),
        (to_dynamic_command, ["--budget_ms=-1"], "--budget_ms must be above 0. Received: -1"),
        (to_dynamic_command, ["--formats=pb"], "--formats: some of tflite, saved_model, onnx"),
        (to_dynamic_command, [], "a.keras: no such file"),
        (recalibrate_command, ["--file=a.onnx"], "a.onnx: no such file"),
    ],
)
def test_wrong_flags_are_answered(command, arguments, message, tmp_path, capsys):
    arguments = ["--calibration=imagefolder:x", *arguments]
    if command is to_dynamic_command:
        arguments = ["--models=a.keras", f"--output={tmp_path}/x", *arguments]
    assert call(command, arguments) == 1
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_report_shows_one_xnnpack_partition_in_each_branch(written):
    for name in ("fp32.tflite", "int8.tflite"):
        branches = {one.name: one for one in read_tflite(written[0] / name).branches}
        steps = [branches["from_step_1"], branches["from_step_2"]]
        assert [one.partitions for one in steps] == [1, 1]
        assert all(one.taken >= one.ops - 6 for one in steps)  # what decides is LiteRT's own
        assert branches["leave_at_0"].ops == 0
        assert "branch from_step_1: XNNPACK runs" in as_text(read_tflite(written[0] / name))


@pytest.mark.slow
def test_the_weights_of_each_onnx_branch_lie_in_it(written):
    """ONNX Runtime's fastest convolutions take no others."""
    graph, counts = onnx.load(written[0] / "model.onnx").graph, []
    while True:
        convolutions = [node for node in graph.node if node.op_type == "Conv"]
        weights = {weight.name for weight in graph.initializer}
        counts.append(sum(node.input[1] in weights for node in convolutions))
        assert counts[-1] == len(convolutions)
        branches = [node for node in graph.node if node.op_type == "If"]
        if not branches:
            break
        graph = next(a.g for a in branches[0].attribute if a.name == "else_branch")
    assert len(counts) == 3
    assert min(counts) > 0
