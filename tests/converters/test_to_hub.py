"""`converters.to_hub` writes what transformers, timm and this package read back from the hub."""

import json
import shutil

import huggingface_hub
import keras
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import levit_tf
from converters import from_pytorch, to_hub
from converters.hub.configs import timm_config
from converters.hub.model_card import model_card
from converters.hub.pictures import LabelledPictures, labelled_pictures
from converters.to_onnx import to_onnx
from converters.to_saved_model import to_saved_model
from converters.to_tflite import to_tflite
from levit_tf.keras_graph.introspection import variant_of
from levit_tf.keras_graph.properties import ModelProperties
from levit_tf.pictures.images import load_images
from levit_tf.pictures.run_pictures import SeenPicture, picture_key
from levit_tf.prediction.predictor import load_predictor
from levit_tf.variants import get_variant
from levit_tf.weights.pytorch_weights import to_state_dict
from tests.support import references
from tests.support.cases import slow
from tests.support.commands import call
from tests.support.hub_repositories import transformers_files
from tests.support.randomize import random_images, randomize_keras

CLASSES = ("daisy", "rosé", "tulip: red")
RANGE = levit_tf.InputRange((0.5, 0.5, 0.5), (0.5, 0.25, 0.5))


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    made = levit_tf.LeViT("LeViTNano", input_shape=(64, 64, 3), classes=len(CLASSES))
    randomize_keras(made)
    return levit_tf.with_properties(made, class_names=CLASSES, input_range=RANGE)


@pytest.fixture(scope="module")
def model_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "flowers.keras"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (folder / "train" / name).mkdir(parents=True)
        (folder / "val" / name).mkdir(parents=True)
        for n in range(4):
            pixels = rng.integers(0, 256, (70, 80, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "val" / name / f"{n}.png")
            Image.fromarray(pixels).save(folder / "train" / name / f"{n}.png")
    return folder


def written(model_file, output, *arguments):
    done = call(
        to_hub, [f"--model={model_file}", f"--output={output}", "--name=me/flowers", *arguments]
    )
    assert done == 0
    return output


@pytest.mark.parametrize(("channels", "pixels"), [(3, "RGB"), (1, "brightness")])
def test_the_card_names_the_pixels_of_the_network(channels, pixels):
    variant = levit_tf.get_variant("LeViTNano")
    properties = ModelProperties(None, (64, 64), channels, None, None)
    pictures = LabelledPictures(np.zeros((0, 64, 64, 3)), None, "no pictures")
    card = model_card("me/own", variant, properties, "timm", [], pictures, "mit", 1000, True)
    assert f"The input is {pixels},\n" in card
    assert f"plain {pixels} 0..255" in card


@pytest.mark.slow
@pytest.mark.parametrize("files", [("model.tflite",), slow(("model.tflite", "model-int8.tflite"))])
def test_the_folder_comes_back_from_the_hub_as_the_same_network(
    files, model, model_file, pictures, hub, tmp_path
):
    calibration = ["--calibration=photographs"] if len(files) > 1 else []
    output = written(model_file, tmp_path / "upload", f"--pictures={pictures}", *calibration)
    assert {path.name for path in output.iterdir()} == {
        "README.md",
        "config.json",
        "model.keras",
        "model.safetensors",
        "preprocessor_config.json",
        *files,
    }
    hub.publish("me/flowers", {path.name: path.read_bytes() for path in output.iterdir()})
    found = levit_tf.LeViT("LeViTNano", weights="hf://me/flowers")
    images = random_images((64, 64), 2)
    np.testing.assert_array_equal(found(images, training=False), model(images, training=False))
    properties = levit_tf.model_properties(found)
    assert properties.class_names == CLASSES
    assert properties.input_range == RANGE
    for name in ("model.keras", *files):
        assert load_predictor(output / name).class_names == list(CLASSES)

    card = (output / "README.md").read_text()
    assert ("model-int8.tflite" in card) == ("model-int8.tflite" in files)
    metadata = huggingface_hub.ModelCard(card).data
    assert metadata.library_name == "transformers"
    assert metadata.pipeline_tag == "image-classification"
    rows = [line.split("|")[1:-1] for line in card.splitlines() if line.startswith("| model")]
    assert [row[0].strip() for row in rows] == ["model.keras", *files]
    assert [float(row[3]) for row in rows[:2]] == [100, 100]
    pixels = load_images(sorted((pictures / "val").glob("*/*")), (64, 64))
    expected = load_predictor(output / "model.keras").predict(pixels).argmax(1)
    top1 = 100 * np.mean(expected == np.repeat(np.arange(3), 4))
    assert rows[0][2].split("±")[0].strip() == f"{top1:.2f}"


@pytest.mark.slow
def test_transformers_reads_the_folder(model, model_file, tmp_path):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    output = written(model_file, tmp_path / "upload")
    theirs = transformers.LevitForImageClassificationWithTeacher.from_pretrained(output).eval()
    images = random_images((64, 64), 2)
    with torch.no_grad():
        found = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).logits
    probabilities = torch.softmax(found, -1).numpy()
    np.testing.assert_allclose(probabilities, model(images, training=False), rtol=1e-4, atol=1e-6)
    assert tuple(theirs.config.id2label.values()) == CLASSES
    assert theirs.config.image_size == 64


@pytest.mark.parametrize("heads", ["single", slow("average")])
def test_timm_loads_what_is_described_for_it(heads, tmp_path):
    references.timm_levit_module()  # timm imports only with its stand-in for torchvision
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    made = levit_tf.LeViT128S(
        weights=None, input_shape=(64, 64, 3), classes=3, heads=heads, classifier_activation=None
    )
    randomize_keras(made)
    save_file(to_state_dict(made, "timm"), tmp_path / "model.safetensors", {"format": "pt"})
    described = timm_config(variant_of(made), (64, 64, 3), 3, CLASSES, RANGE, heads != "single")
    (tmp_path / "config.json").write_text(json.dumps(described))
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = random_images((64, 64), 2)
    with torch.no_grad():
        found = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    np.testing.assert_allclose(found, made(images, training=False), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("side", "expected"), [(224, 224 / 256), (32, 1)])
def test_timm_crops_as_the_card_s_accuracy_is_measured(side, expected):
    variant = get_variant("LeViT128S")
    described = timm_config(variant, (side, side, 3), 3, None, RANGE, distilled=True)
    assert described["pretrained_cfg"]["crop_pct"] == expected


@pytest.mark.parametrize("name", ["LeViT512", "LeViT512S8", "LeViT256D", "LeViT512D"])
def test_two_heads_of_which_timm_builds_one_are_refused(name):
    described = (get_variant(name), (224, 224, 3), 3, None, RANGE)
    with pytest.raises(ValueError, match=r'levit_tf.with_heads\(model, "single"\)'):
        timm_config(*described, distilled=True)
    assert "model_args" not in timm_config(*described, distilled=False)


@pytest.mark.slow
def test_timms_description_is_read_back(hub, tmp_path):
    made = levit_tf.LeViT128S(weights=None, input_shape=(64, 64, 3), classes=3, heads="single")
    levit_tf.with_properties(made, class_names=CLASSES).save(tmp_path / "a.keras")
    output = written(tmp_path / "a.keras", tmp_path / "upload")
    config = json.loads((output / "config.json").read_text())
    assert config["architecture"] == "levit_128s"
    assert config["label_names"] == list(CLASSES)
    hub.publish("me/flowers", {path.name: path.read_bytes() for path in output.iterdir()})
    found = levit_tf.LeViT128S(weights="hf://me/flowers", heads="single")
    assert levit_tf.model_properties(found).class_names == CLASSES
    assert found.input_shape == (None, 64, 64, 3)
    assert 'heads="single")' in (output / "README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format=timm"], "timm has no LeViTNano; --format=hf"),
        (["--name=flowers"], "--name: expected OWNER/NAME. Received: 'flowers'"),
        (["--pictures={folder}"], "'ant' is none of the network's 3 classes"),
        (["--output={folder}"], "exists already; --overwrite replaces it"),
        (["--model=gone.keras"], "gone.keras: no such file"),
    ],
)
def test_what_is_wrong_leaves_no_folder(arguments, message, model_file, tmp_path, capsys):
    folder = tmp_path / "pictures"
    for name in ("ant", "daisy"):
        (folder / name).mkdir(parents=True)
    arguments = [text.format(folder=folder) for text in arguments]
    defaults = [f"--model={model_file}", f"--output={tmp_path / 'upload'}", "--name=me/flowers"]
    assert call(to_hub, [*defaults, *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "upload").exists()


def test_a_network_for_every_size_leaves_no_folder(model, tmp_path, capsys):
    levit_tf.with_input_size(model, None).save(tmp_path / "open.keras")
    arguments = [f"--model={tmp_path / 'open.keras'}", f"--output={tmp_path / 'upload'}"]
    assert call(to_hub, [*arguments, "--name=me/flowers"]) == 1
    assert "levit_tf.with_input_size(model, (height, width))" in capsys.readouterr().err
    assert not (tmp_path / "upload").exists()


def seen_pictures(paths):
    return {
        picture_key(path, path.stat().st_size): [SeenPicture(path, str(path))] for path in paths
    }


def test_pictures_that_cannot_be_read_or_were_trained_on_are_left_out_and_named(
    pictures, tmp_path, capsys
):
    folder = shutil.copytree(pictures, tmp_path / "some")
    (folder / "val/daisy/0.png").write_bytes((folder / "val/daisy/0.png").read_bytes()[:90])
    (folder / "val/daisy/notes.txt").write_text("no picture")
    found = labelled_pictures(folder, CLASSES, (64, 64), limit=12)
    assert len(found.images) == 11
    printed = capsys.readouterr().out
    assert "skipped: 2" in printed
    assert "notes.txt" in printed
    assert "0.png" in printed
    seen = seen_pictures((folder / "val").rglob("[12].png"))
    assert len(labelled_pictures(folder, CLASSES, (64, 64), limit=12, seen=seen).images) == 5
    assert "6 are left out: the network was trained with them" in capsys.readouterr().out
    seen = seen_pictures((folder / "val").rglob("*.png"))
    with pytest.raises(ValueError, match="that the network was not trained with"):
        labelled_pictures(folder, CLASSES, (64, 64), limit=12, seen=seen)


@pytest.mark.slow
def test_a_repositorys_labels_and_normalisation_reach_every_export(hub, model, tmp_path):
    preprocessor = {"image_mean": RANGE.mean, "image_std": RANGE.std}
    names = {str(n): name for n, name in enumerate(CLASSES)}
    hub.publish("me/flowers", transformers_files(model, preprocessor, id2label=names))
    source = tmp_path / "flowers.keras"
    assert call(from_pytorch, ["--checkpoint=hf://me/flowers", f"--output={source}"]) == 0
    read = keras.models.load_model(source)
    to_tflite(read, tmp_path / "flowers.tflite")
    to_saved_model(read, tmp_path / "saved_model")
    to_onnx(read, tmp_path / "flowers.onnx")
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3))
    normalized = ((images / 255 - RANGE.mean) / RANGE.std).astype(np.float32)
    expected = model(normalized, training=False).numpy()
    for name in ("flowers.keras", "flowers.tflite", "saved_model", "flowers.onnx"):
        predictor = load_predictor(tmp_path / name)
        assert predictor.class_names == list(CLASSES), name
        np.testing.assert_allclose(predictor.predict(images), expected, rtol=1e-4, atol=1e-5)
    vision = pytest.importorskip("mediapipe.tasks.python.vision")
    import mediapipe

    picture = mediapipe.Image(
        image_format=mediapipe.ImageFormat.SRGB, data=images[0].astype(np.uint8)
    )
    with vision.ImageClassifier.create_from_model_path(str(tmp_path / "flowers.tflite")) as found:
        categories = found.classify(picture).classifications[0].categories
    by_name = {category.category_name: category.score for category in categories}
    np.testing.assert_allclose([by_name[name] for name in CLASSES], expected[0], atol=1e-3)
