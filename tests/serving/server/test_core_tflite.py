"""--prefer_tflite_model: a version's model.tflite is served instead of its SavedModel."""

import sys
import threading

import grpc
import numpy as np
import pytest
import tensorflow as tf
from flatbuffers import flexbuffers
from grpc import StatusCode
from tensorflow.core.framework.types_pb2 import DT_FLOAT
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

from tests.support.serving.serving_cases import MODEL, VERSION, running, shared_model, values
from tests.support.serving.serving_models import copy_version


def test_without_litert_the_server_does_not_start(monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    preferring = running(
        model_base_path=str(shared_model()), model_name=MODEL, prefer_tflite_model=True
    )
    with pytest.raises(ImportError, match="--prefer_tflite_model needs LiteRT"), preferring:
        pass


def tflite_file():
    """y = x / 2 + 100 for x of shape (1, 1), so that it cannot be mistaken for the SavedModel."""

    @tf.function(input_signature=[tf.TensorSpec([1, 1], tf.float32, name="x")])
    def compute(x):
        return {"y": x / 2 + 100}

    converter = tf.lite.TFLiteConverter.from_concrete_functions([compute.get_concrete_function()])
    return converter.convert()


def with_signatures(content, **signatures):
    """Adds SignatureDefs, as TensorFlow Serving looks for them."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    class Bytes(bytes):
        def encode(self, encoding):
            return self

    builder = flexbuffers.Builder()
    with builder.Map():
        for name, signature in signatures.items():
            builder.Key(name)
            builder.String(Bytes(signature.SerializeToString()))
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    entry = schema.MetadataT()
    entry.name, entry.buffer = b"signature_defs_metadata", len(model.buffers)
    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = np.frombuffer(bytes(builder.Finish()), np.uint8)
    model.metadata = [*(model.metadata or []), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def tensor_names(content):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    return (
        interpreter.get_input_details()[0]["name"],
        interpreter.get_output_details()[0]["name"],
    )


@pytest.fixture(scope="module")
def content():
    return tflite_file()


@pytest.fixture(scope="module")
def target(content, tmp_path_factory):
    x, y = tensor_names(content)
    signature = SignatureDef(method_name="tensorflow/serving/predict")
    signature.inputs["x"].name, signature.outputs["y"].name = x, y
    signature.inputs["x"].dtype = signature.outputs["y"].dtype = DT_FLOAT
    base = tmp_path_factory.mktemp("tflite") / "base"
    copy_version(shared_model() / str(VERSION), base / "1")
    (base / "1" / "model.tflite").write_bytes(with_signatures(content, serving_default=signature))
    with running(model_base_path=str(base), model_name=MODEL, prefer_tflite_model=True) as target:
        yield target


def test_the_tflite_file_answers(target):
    for n in range(5):
        response = target.predict({"x": np.float32([[n]])})
        np.testing.assert_array_equal(values(response), [[n / 2 + 100]])
        assert response.model_spec.version.value == 1


def test_threads_have_interpreters_of_their_own(target):
    answers = {}

    def ask(n):
        for _ in range(20):
            answers.setdefault(n, set()).add(
                values(target.predict({"x": np.float32([[n]])})).item()
            )

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {n: {n / 2 + 100} for n in range(8)}


def test_the_batch_size_follows_the_request(target):
    for count in (3, 1, 2):
        x = np.arange(count, dtype=np.float32).reshape(count, 1)
        np.testing.assert_array_equal(values(target.predict({"x": x})), x / 2 + 100)


def test_sizes_of_1_may_be_left_out(target):
    np.testing.assert_array_equal(values(target.predict({"x": np.float32([2, 4])})), [[101], [102]])


def test_what_does_not_fit_is_refused_and_the_next_request_is_answered(target):
    wrong_shapes = [np.zeros(shape, "f") for shape in [(), (1, 2), (1, 0), (1, 1, 1)]]
    for wrong in (np.int32([[1]]), np.array([[b"a"]], object), *wrong_shapes):
        with pytest.raises(grpc.RpcError) as caught:
            target.predict({"x": wrong})
        assert caught.value.code() == StatusCode.INVALID_ARGUMENT
        assert "x: expected float (batch, 1), got " in caught.value.details()
        np.testing.assert_array_equal(values(target.predict({"x": np.float32([[2]])})), [[101]])


def test_a_file_without_signatures_gets_one_of_its_tensors(content, tmp_path):
    x, y = tensor_names(content)
    (tmp_path / "base" / "1").mkdir(parents=True)
    (tmp_path / "base" / "1" / "model.tflite").write_bytes(content)
    with running(
        model_base_path=str(tmp_path / "base"), model_name=MODEL, prefer_tflite_model=True
    ) as target:
        np.testing.assert_array_equal(values(target.predict({x: np.float32([[2]])}), y), [[101]])


def test_a_damaged_file_is_a_broken_version(tmp_path):
    from serving.server.errors import ServingError

    (tmp_path / "base" / "1").mkdir(parents=True)
    (tmp_path / "base" / "1" / "model.tflite").write_bytes(b"no model" * 99)
    options = {"prefer_tflite_model": True, "max_num_load_retries": 0}
    with (
        pytest.raises(ServingError, match=r"half/1/model.tflite: "),
        running(model_base_path=str(tmp_path / "base"), model_name=MODEL, **options),
    ):
        pass


def damaged(content, kind):
    """The file with one thing in it that LiteRT takes on trust."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    graph = model.subgraphs[0]
    if kind in ("FlexErf", "Somebodys"):
        code = model.operatorCodes[graph.operators[0].opcodeIndex]
        code.builtinCode = code.deprecatedBuiltinCode = 32  # CUSTOM
        code.customCode = kind.encode()
    elif kind == "operation":
        graph.operators[0].opcodeIndex = 99
    elif kind == "tensor":
        graph.operators[0].inputs[0] = 99
    elif kind == "empty input":
        graph.tensors[graph.inputs[0]].shape = np.int32([0, 1])
        graph.tensors[graph.inputs[0]].shapeSignature = None
    elif kind == "signature":
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = b"serving_default", 99
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = b"x", 0
        signature.inputs, signature.outputs = [entry], [entry]
        model.signatureDefs = [signature]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("FlexErf", "model.tflite: .*FlexErf"),
        ("Somebodys", "model.tflite: .*Somebodys"),
        ("operation", "model.tflite: "),
        ("tensor", "model.tflite: "),
        ("empty input", "model.tflite: its input .* is empty"),
        ("signature", "model.tflite: "),
    ],
)
def test_what_would_end_the_server_is_a_broken_version(tmp_path, content, kind, message):
    """In one line; the process of the server goes on."""
    from serving.server.errors import ServingError

    (tmp_path / "base" / "1").mkdir(parents=True)
    (tmp_path / "base" / "1" / "model.tflite").write_bytes(damaged(content, kind))
    options = {"prefer_tflite_model": True, "max_num_load_retries": 0}
    with (
        pytest.raises(ServingError, match=message) as caught,
        running(model_base_path=str(tmp_path / "base"), model_name=MODEL, **options),
    ):
        pass
    assert len(str(caught.value).splitlines()) == 1
    assert str(tmp_path) not in str(caught.value)


def test_without_the_flag_or_the_file_the_savedmodel_is_served():
    base = shared_model()
    for prefer in (False, True):
        with running(
            model_base_path=str(base), model_name=MODEL, prefer_tflite_model=prefer
        ) as target:
            np.testing.assert_array_equal(values(target.predict({"x": np.float32([2])})), [3])
