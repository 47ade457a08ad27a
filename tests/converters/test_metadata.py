"""TFLite metadata: what its readers find, and that MediaPipe answers as this package does."""

import io
import zipfile

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import levit_tf
from converters.tflite.metadata import ENTRY, with_metadata
from converters.tflite.tflite_graph import Graph
from converters.to_tflite import to_tflite
from levit_tf.prediction.network_files import read_network
from levit_tf.prediction.predictor import load_predictor
from tests.support.artefacts import NAMES
from tests.support.cases import slow
from tests.support.export_cases import CLASSES, rgb_images


@pytest.fixture(scope="module", params=["fp32", slow("int8_full")])
def path(request, artefacts):
    return artefacts[f"{request.param}.tflite"]


def entry_of(path):
    model = Graph(path.read_bytes()).model
    (entry,) = [m for m in model.metadata if m.name.decode() == ENTRY]
    return bytes(model.buffers[entry.buffer].data)


def test_the_class_names_are_in_an_archive_at_the_end_of_the_file(path):
    with zipfile.ZipFile(path) as archive:
        (member,) = archive.infolist()
        assert (member.filename, member.compress_type) == ("labels.txt", zipfile.ZIP_STORED)
        assert archive.read(member).decode() == "\n".join(NAMES) + "\n"


def test_writing_it_twice_describes_the_model_once(path):
    with zipfile.ZipFile(path) as archive:
        end_of_model = archive.infolist()[0].header_offset
    graph = Graph(path.read_bytes()[:end_of_model])
    again = with_metadata(graph, name="other", description="", class_names=["a"] * CLASSES)
    names = [m.name.decode() for m in Graph(again).model.metadata]
    assert names.count(ENTRY) == 1
    with zipfile.ZipFile(io.BytesIO(again)) as archive:
        assert len(archive.infolist()) == 1


def test_constants_begin_where_the_schema_wants_them(path):
    from ai_edge_litert.schema_py_generated import Model

    model = Model.GetRootAs(path.read_bytes())
    buffers = [model.Buffers(n) for n in range(model.BuffersLength())]
    starts = [b._tab.Vector(b._tab.Offset(4)) for b in buffers if b.DataLength()]
    assert len(starts) > 20
    assert {start % 16 for start in starts} == {0}
    assert not any(b.Offset() for b in buffers)  # none outside of the model


def test_it_follows_the_published_schema(path):
    schema = pytest.importorskip(
        "mediapipe.tasks.metadata.metadata_schema_py_generated",
        reason="MediaPipe, which has the schema, is not installed",
    )
    content = entry_of(path)
    assert content[4:8] == b"M001"
    metadata = schema.ModelMetadataT.InitFromPackedBuf(content)
    assert metadata.name == b"LeViTTiny"
    assert metadata.minParserVersion == b"1.0.0"
    (graph,) = metadata.subgraphMetadata
    (image,), (scores,) = graph.inputTensorMetadata, graph.outputTensorMetadata
    assert (image.name, scores.name) == (b"images", b"probabilities")
    properties = image.content.contentProperties
    assert properties.colorSpace == schema.ColorSpaceType.RGB
    assert (properties.defaultSize.width, properties.defaultSize.height) == (32, 32)
    (normalization,) = image.processUnits
    assert (list(normalization.options.mean), list(normalization.options.std)) == ([0], [1])
    assert (list(image.stats.min), list(image.stats.max)) == ([0], [255])
    (labels,) = scores.associatedFiles
    assert labels.name == b"labels.txt"
    assert labels.type == schema.AssociatedFileType.TENSOR_AXIS_LABELS


@pytest.mark.slow
def test_a_picture_that_is_not_square_is_not_turned(tmp_path):
    schema = pytest.importorskip(
        "mediapipe.tasks.metadata.metadata_schema_py_generated",
        reason="MediaPipe, which has the schema, is not installed",
    )
    path = tmp_path / "out.tflite"
    layers = [keras.Input((32, 48, 3)), keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
    to_tflite(levit_tf.with_properties(keras.Sequential(layers), input_range="unit"), path)
    graph = schema.ModelMetadataT.InitFromPackedBuf(entry_of(path)).subgraphMetadata[0]
    size = graph.inputTensorMetadata[0].content.contentProperties.defaultSize
    assert (size.width, size.height) == (48, 32)


@pytest.mark.slow
def test_class_names_belong_to_the_output_that_has_as_many_values(tmp_path):
    schema = pytest.importorskip(
        "mediapipe.tasks.metadata.metadata_schema_py_generated",
        reason="MediaPipe, which has the schema, is not installed",
    )
    path = tmp_path / "two.tflite"
    inputs = keras.Input((8, 8, 3))
    features = keras.layers.Flatten()(inputs)
    scores = keras.layers.Dense(CLASSES)(features)
    model = keras.Model(inputs, {"scores": scores, "embedding": features})
    to_tflite(levit_tf.with_properties(model, input_range="unit"), path, class_names=NAMES)
    assert read_network(path).class_names == tuple(NAMES)
    graph = schema.ModelMetadataT.InitFromPackedBuf(entry_of(path)).subgraphMetadata[0]
    labelled = {o.name: bool(o.associatedFiles) for o in graph.outputTensorMetadata}
    assert labelled == {b"scores": True, b"embedding": False}


def test_mediapipe_answers_as_this_package_does(path):
    mediapipe = pytest.importorskip("mediapipe", reason="MediaPipe is not installed")
    from mediapipe.tasks.python import BaseOptions, vision

    images = rgb_images(24).astype(np.uint8)
    expected = load_predictor(path).predict(images)
    assert len(set(expected.argmax(axis=1))) > 2  # or one answer would do for all
    options = vision.ImageClassifierOptions(BaseOptions(model_asset_path=str(path)))
    with vision.ImageClassifier.create_from_options(options) as classifier:
        for image, probabilities in zip(images, expected, strict=True):
            picture = mediapipe.Image(mediapipe.ImageFormat.SRGB, image)
            (head,) = classifier.classify(picture).classifications
            found = np.zeros(CLASSES)
            for category in head.categories:
                assert category.category_name == NAMES[category.index]
                found[category.index] = category.score
            np.testing.assert_allclose(found, probabilities, atol=1e-6)


def test_litert_reads_the_file_to_its_model_only(path):
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        model = content[: archive.infolist()[0].header_offset]
    images = rgb_images(1).astype(np.uint8)
    answers = []
    for part in (content, model):
        runner = Interpreter(model_content=part).get_signature_runner("serving_default")
        dtype = runner.get_input_details()["images"]["dtype"]
        answers.append(runner(images=images.astype(dtype))["probabilities"])
    np.testing.assert_array_equal(*answers)
