"""Exports for TensorFlow Serving: what a version holds, what keeps it from being published."""

import contextlib
import dataclasses
import functools
import os
import re
from pathlib import Path

import numpy as np
import pytest
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

import levit_tf
from converters.deploy import deploy_graph
from converters.verification.verify_artefact import BFLOAT16
from converters.verification.verify_keras import model_artefact
from levit_lite.class_names import read_labels
from levit_tf.keras_graph.properties import model_properties
from levit_tf.preprocessing import resize_and_center_crop
from serving.export import export_check as check_module
from serving.export import exporting as export_module
from serving.export.__main__ import notes_on_serving
from serving.export.deployment import batching_config, write_deployment
from serving.export.export_check import Checks, check_version
from serving.export.export_graph import serving_signatures
from serving.export.exporting import Export, export, load_model
from serving.export.tflite_version import write_tflite_model
from serving.export.warmup_requests import (
    BATCH_SIZES,
    WARMUP_RECORDS,
    PredictionLog,
    bytes_request,
    execute,
    read_warmup,
    write_warmup,
)
from serving.repository import Repository
from serving.signatures import IMAGE_TENSOR, SERVING_DEFAULT
from serving.tensorflow_c.c_api import SavedModelSession
from serving.versions import Versions
from tests.support.serving.export_serving import CLASS_NAMES, SIZE, ask, export_small, small_model
from tests.support.serving.served_pictures import jpeg


def test_warmup_covers_all_signatures_and_batch_sizes_and_was_executed(exported, session):
    logs = list(read_warmup(exported.path))
    assert len(logs) == exported.checks.requests == 3 * len(BATCH_SIZES)
    for log in logs[:3]:
        assert execute(session, log)["scores"].shape == (1, 5)
    sizes = {len(log.classify_log.request.input.example_list.examples) for log in logs}
    assert sizes == {0, *BATCH_SIZES}


def test_warmup_on_a_full_disk_is_an_error_that_names_the_file(tmp_path, exported):
    path = tmp_path / WARMUP_RECORDS
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match=f"{WARMUP_RECORDS}: cannot be written"):
        write_warmup(tmp_path, [*read_warmup(exported.path)])


def test_labels_travel_with_the_version(exported):
    assert read_labels(exported.path / "assets/labels.txt") == CLASS_NAMES


def test_the_repository_has_what_a_server_is_started_with(exported):
    folder = exported.path.parent.parent
    assert exported.path == folder / "levit" / "1"
    assert {path.name for path in folder.iterdir()} == {
        "models.config",
        "batching.config",
        "monitoring.config",
        "ssl.config",
        "docker-compose.yml",
        "SERVING.md",
        "levit",
    }
    (model,) = Repository(folder).read_config().model_config_list.config
    assert (model.name, model.base_path) == ("levit", str(folder / "levit"))
    notes = (folder / "SERVING.md").read_text()
    assert "tensorflow_model_server \\\n    --port=8500" in notes
    assert f"--model_config_file={folder}/models.config" in notes


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A version with everything that is not the default."""
    folder = tmp_path_factory.mktemp("other") / "models"
    return export_small(
        folder, version=5, precision="bfloat16", top_k=2, tflite=True, base="/models/"
    )


@pytest.mark.slow
def test_weights_may_be_variables_that_all_signatures_share(tmp_path):
    done = export_small(tmp_path / "models", weights="variables")
    weights = sum(file.stat().st_size for file in (done.path / "variables").iterdir())
    assert weights > (done.path / "saved_model.pb").stat().st_size / 2


@pytest.mark.slow
def test_options_are_heeded(other):
    assert other.path.name == "5"
    (model,) = Repository(other.path.parent.parent).read_config().model_config_list.config
    assert model.base_path == "/models/levit"
    with SavedModelSession(other.path) as session:
        found = ask(session, SERVING_DEFAULT, [jpeg()])
        assert found["scores"].shape == found["classes"].shape == (1, 2)
        assert found["probabilities"].dtype == np.float32
    assert 1e-4 < other.checks.keras < 5e-2


@pytest.mark.slow
def test_a_tflite_file_has_the_signature_that_tf_serving_reads(tmp_path):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    from flatbuffers import flexbuffers

    write_tflite_model(tmp_path, small_model(), CLASS_NAMES, None)
    path = tmp_path / "model.tflite"
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    (entry,) = (m for m in model.metadata if m.name == b"signature_defs_metadata")
    root = flexbuffers.GetRoot(bytes(model.buffers[entry.buffer].data)).AsMap
    assert [key.AsKey for key in root.Keys] == ["image_tensor"]
    signature = SignatureDef()
    assert root["image_tensor"].IsString
    signature.ParseFromString(bytes(root["image_tensor"].AsStringBytes))
    runner = interpreter.Interpreter(model_path=str(path))
    runner.allocate_tensors()
    (image,) = runner.get_input_details()
    names = {details["name"] for details in runner.get_output_details()}
    assert {key: info.name for key, info in signature.inputs.items()} == {"images": image["name"]}
    assert set(signature.outputs) == {"logits", "probabilities"}
    assert {info.name for info in signature.outputs.values()} == names
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.slow
def test_warmup_with_a_tflite_file_asks_for_what_both_can_answer(other):
    (log,) = read_warmup(other.path)
    request = log.predict_log.request
    assert request.model_spec.signature_name == IMAGE_TENSOR
    assert set(request.output_filter) == {"logits", "probabilities"}
    assert [dim.size for dim in request.inputs["images"].tensor_shape.dim] == [1, *SIZE, 3]


@pytest.fixture(scope="module")
def functions():
    return serving_signatures(deploy_graph(small_model()), CLASS_NAMES)


@pytest.fixture
def opened(session, monkeypatch):
    """Has a check find the version open already: to load it takes long."""
    monkeypatch.setattr(
        check_module, "SavedModelSession", lambda version: contextlib.nullcontext(session)
    )


@functools.cache
def reference(seed=0):
    return model_artefact(small_model(seed), "the model", few=True)


@pytest.mark.slow
@pytest.mark.usefixtures("opened")
def test_a_version_of_another_model_does_not_pass(exported, functions):
    with pytest.raises(ValueError, match="differs from Keras by"):
        check_version(exported.path, reference(1), functions, "float32")


@pytest.mark.slow
@pytest.mark.usefixtures("opened")
def test_a_version_may_differ_as_far_as_its_model_is_precise(exported, functions):
    exact = reference()
    rounded = dataclasses.replace(
        exact, outputs=lambda images: {name: 1.01 * y for name, y in exact.outputs(images).items()}
    )
    with pytest.raises(ValueError, match="differs from Keras by"):
        check_version(exported.path, rounded, functions, "float32")
    rounded = dataclasses.replace(rounded, precision=BFLOAT16)
    assert check_version(exported.path, rounded, functions, "float32").keras > 5e-3


@pytest.mark.slow
@pytest.mark.usefixtures("opened")
def test_a_version_that_answers_bytes_differently_does_not_pass(exported, functions, monkeypatch):
    def upside_down(picture, size):
        return resize_and_center_crop(picture, size)[::-1]

    monkeypatch.setattr(check_module, "resize_and_center_crop", upside_down)
    with pytest.raises(ValueError, match="pictures are answered differently as bytes"):
        check_version(exported.path, reference(), functions, "float32")


@pytest.mark.slow
@pytest.mark.usefixtures("opened")
def test_a_version_with_a_bad_warmup_record_does_not_pass(functions, tmp_path):
    write_warmup(tmp_path / "1", [bytes_log(b"no picture")])
    with pytest.raises(ValueError, match=r"does not work in TensorFlow's session: .*not a JPEG"):
        check_version(tmp_path / "1", reference(), functions, "float32")


def bytes_log(picture):
    log = PredictionLog()
    log.predict_log.request.CopyFrom(bytes_request("levit", [picture]))
    return log


@pytest.mark.slow
def test_a_version_that_does_not_pass_is_not_published(tmp_path, monkeypatch):
    def refuse(version, *_):
        assert (Path(version) / "saved_model.pb").is_file()
        raise ValueError("it differs")

    monkeypatch.setattr(export_module, "check_version", refuse)
    with pytest.raises(ValueError, match="it differs"):
        export_small(tmp_path / "models")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"name": "a/b"}, "A model's name consists of"),
        ({"name": ".."}, "A model's name consists of"),
        ({"class_names": ["a", "b"]}, "2 class names for a model of 7 classes"),
        ({"top_k": 0}, "must be positive"),
        ({"version": 0}, "positive integer"),
        ({"precision": "float8"}, "Precision must be one of"),
        ({"base": "models"}, "an absolute path"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_written(tmp_path, kwargs, message):
    with pytest.raises(ValueError, match=message):
        export_small(tmp_path / "models", **kwargs)
    assert os.listdir(tmp_path) == []


def test_a_network_without_a_top_is_refused_and_nothing_written(tmp_path):
    model = levit_tf.LeViT("LeViTTiny", include_top=False)
    with pytest.raises(ValueError, match=r"returns logits and their softmax .* returns stages_2"):
        export(model, "levit", tmp_path / "models")
    assert os.listdir(tmp_path) == []


def test_an_existing_version_is_kept(exported):
    with pytest.raises(FileExistsError, match="1 exists already; --overwrite"):
        export_small(exported.path.parent.parent, version=1)


def test_a_folder_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        export_small(tmp_path / "file" / "models")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("LeViT265", r"Did you mean 'LeViT256'\?"),
        ("levit256.keras", "no such file"),
        ("folder/LeViT256", "no such file"),
    ],
)
def test_a_model_that_does_not_exist_is_reported(model, message):
    with pytest.raises((ValueError, OSError), match=message):
        load_model(model)


def test_the_folder_of_a_run_stands_for_its_final_network_with_its_labels(tmp_path):
    small_model().save(tmp_path / "final.keras")
    model, folders = load_model(str(tmp_path))
    assert model.output_shape == (None, len(CLASS_NAMES))
    assert folders == [tmp_path]


def test_a_variant_is_served_with_the_weights_of_the_package():
    model, folders = load_model("LeViTMini")
    assert model_properties(model).origin == "LeViTMini trained on Imagenette"
    assert folders == []


def test_files_that_the_user_has_changed_are_kept(tmp_path):
    write_deployment(tmp_path, "/models")
    (tmp_path / "batching.config").write_text("mine")
    (tmp_path / "ssl.config").unlink()
    assert write_deployment(tmp_path, "/models") == [tmp_path / "ssl.config"]
    assert (tmp_path / "batching.config").read_text() == "mine"


def test_the_compose_file_mounts_what_the_flags_name(tmp_path):
    yaml = pytest.importorskip("yaml")
    write_deployment(tmp_path, "/models")
    service = yaml.safe_load((tmp_path / "docker-compose.yml").read_text())["services"]["serving"]
    (volume,) = service["volumes"]
    assert (volume["source"], volume["target"]) == (str(tmp_path), "/models")
    assert "--model_config_file=/models/models.config" in service["command"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_batches_are_as_large_as_warmup_has_prepared_and_are_not_filled_up():
    text = batching_config(cores=4)
    assert f"max_batch_size {{ value: {BATCH_SIZES[-1]} }}" in text
    assert not re.search("^allowed_batch_sizes", text, re.MULTILINE)
    assert "num_batch_threads { value: 4 }" in text


@pytest.mark.parametrize(
    ("version", "served", "replaced", "expected"),
    [
        (4, [4], False, []),
        (4, [2, 3], False, ["not served: models.config serves 2, 3.*--name=levit --serve=4"]),
        (4, [], False, ["not served: models.config serves no version"]),
        (4, [4], True, ["replaced: servers that have loaded version 4 keep"]),
    ],
)
def test_an_export_that_servers_do_not_serve_says_so(version, served, replaced, expected):
    done = Export(Path("m/levit/4"), version, replaced, served, Checks(0, 0, 0, 0), "/m", [])
    lines = notes_on_serving(done, Path("/m"), "levit")
    assert len(lines) == len(expected)
    assert all(re.match(text, line) for text, line in zip(expected, lines, strict=True))


@pytest.mark.slow
def test_an_export_knows_what_models_config_serves(tmp_path):
    first = export_small(tmp_path)
    assert (first.version, first.served, first.replaced) == (1, [1], False)
    Versions(Repository(tmp_path), "levit").pin([1])
    second = export_small(tmp_path)
    assert (second.version, second.served, second.replaced) == (2, [1], False)
    again = export_small(tmp_path, version=1, overwrite=True)
    assert (again.version, again.served, again.replaced) == (1, [1], True)


@pytest.mark.slow
def test_the_command_exports(tmp_path, run_command):
    small_model().save(tmp_path / "levit.keras")
    (tmp_path / "labels.txt").write_text("\n".join(CLASS_NAMES))
    command = ["serving.export", f"--model={tmp_path / 'levit.keras'}", "--name=levit"]
    command += [f"--repository={tmp_path / 'models'}"]
    done = run_command(*command)
    assert done.returncode == 0, done.stderr
    assert f"published: {tmp_path}/models/levit/1" in done.stdout
    assert read_labels(tmp_path / "models/levit/1/assets/labels.txt") == CLASS_NAMES
    refused = run_command(*command, "--version=1")
    assert refused.returncode == 1
    assert "1 exists already; --overwrite replaces it" in refused.stderr
