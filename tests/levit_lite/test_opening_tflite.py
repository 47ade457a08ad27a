"""TFLite files are followed table by table before LiteRT does, which checks less."""

import copy

import numpy as np
import pytest

from levit_common.regular_files import ModelFileError
from levit_lite.opening.tflite_files import check_tflite_file
from levit_lite.opening.tflite_probe import check_tflite_runs

tf = pytest.importorskip("tensorflow")
flatbuffer_utils = pytest.importorskip("ai_edge_litert.tools.flatbuffer_utils")
from ai_edge_litert import schema_py_generated as schema  # noqa: E402


@pytest.fixture(scope="module")
def content():
    """A convolution and a dense layer behind a signature."""
    kernel = np.ones((3, 3, 3, 4), np.float32)

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), tf.float32, name="image")])
    def serve(image):
        found = tf.nn.conv2d(image, kernel, 2, "SAME")
        return {"logits": tf.matmul(tf.reshape(found, (1, 64)), np.ones((64, 2), np.float32))}

    module = tf.Module()
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [serve.get_concrete_function()], module
    )
    return bytes(converter.convert())


def test_what_the_converter_writes_is_allowed(content, tmp_path):
    (tmp_path / "a.tflite").write_bytes(content)
    check_tflite_file(tmp_path / "a.tflite")


def test_what_the_converter_writes_can_be_run(content, tmp_path):
    (tmp_path / "a.tflite").write_bytes(content)
    check_tflite_runs(tmp_path / "a.tflite")


def test_what_ends_the_process_that_runs_it_ends_another(content, tmp_path):
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    other_graph(model)
    (tmp_path / "a.tflite").write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    with pytest.raises(ModelFileError, match=r"a\.tflite: cannot be loaded.*ends the process"):
        check_tflite_runs(tmp_path / "a.tflite")


def custom(model):
    model.operatorCodes[0].builtinCode = schema.BuiltinOperator.CUSTOM
    model.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    model.operatorCodes[0].customCode = b"FlexConv2D"


def wrong_code(model):
    model.subgraphs[0].operators[0].opcodeIndex = 99


def wrong_operand(model):
    model.subgraphs[0].operators[0].inputs = [0, 10_000, 1]


def missing_operand(model):
    model.subgraphs[0].operators[0].inputs = [-1, *model.subgraphs[0].operators[0].inputs[1:]]


def written_constant(model):
    graph = model.subgraphs[0]
    graph.operators[0].outputs = [int(graph.operators[0].inputs[1])]


def unwritten(model):
    del model.subgraphs[0].operators[0]


def empty_input(model):
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].shape = [1, 0, 8, 3]


def other_graph(model):
    model.signatureDefs[0].subgraphIndex = 99


def other_tensor(model):
    model.signatureDefs[0].inputs[0].tensorIndex = 10_000


def large(model):
    graph = model.subgraphs[0]
    graph.tensors[graph.outputs[0]].shape = [1 << 20, 1 << 20]


def short_constant(model):
    graph = model.subgraphs[0]
    graph.tensors[graph.operators[0].inputs[1]].shape = [64, 64, 64, 64]


def no_stride(model):
    operator = next(o for o in model.subgraphs[0].operators if hasattr(o.builtinOptions, "strideW"))
    operator.builtinOptions.strideW = 0


def scales(model):
    graph = model.subgraphs[0]
    tensor = graph.tensors[graph.operators[0].inputs[1]]
    tensor.quantization = schema.QuantizationParametersT(scale=[1.0] * 7, zeroPoint=[0] * 7)


def other_buffer(model):
    model.subgraphs[0].tensors[0].buffer = 10_000


def recursion(model):
    call = copy.deepcopy(model.subgraphs[0].operators[0])
    model.operatorCodes.append(schema.OperatorCodeT(builtinCode=schema.BuiltinOperator.WHILE))
    call.opcodeIndex = len(model.operatorCodes) - 1
    call.builtinOptionsType = schema.BuiltinOptions.WhileOptions
    call.builtinOptions = schema.WhileOptionsT(condSubgraphIndex=0, bodySubgraphIndex=0)
    model.subgraphs[0].operators[0] = call


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (custom, "has the operation 'FlexConv2D', which is not one of TensorFlow Lite's own"),
        (wrong_code, "an operation's code: 99 of"),
        (wrong_operand, "a tensor's number: 10000 of"),
        (missing_operand, "a tensor's number: -1 of"),
        (written_constant, "an operation writes to a constant"),
        (unwritten, "reads what nothing wrote before"),
        (empty_input, "is empty"),
        (other_graph, "a signature of graph 99 of 1"),
        (other_tensor, "a signature's tensor: 10000 of"),
        (large, "need too much memory"),
        (short_constant, r"constant .* of shape \[64, 64, 64, 64\] in \d+ bytes"),
        (no_stride, "an operation with strideW 0"),
        (scales, "the quantisation of"),
        (other_buffer, "a tensor's buffer: 10000 of"),
        (recursion, "a graph that calls itself"),
    ],
)
def test_what_leads_out_of_the_file_is_refused(change, reason, content, tmp_path):
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    change(model)
    (tmp_path / "a.tflite").write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    with pytest.raises(ModelFileError, match=rf"a\.tflite: .*{reason}") as error:
        check_tflite_file(tmp_path / "a.tflite")
    assert "\n" not in str(error.value)


def test_every_beginning_and_every_damaged_byte_is_allowed_or_refused(content, tmp_path):
    path = tmp_path / "a.tflite"
    rng = np.random.default_rng(0)
    refused = 0
    for number in range(300):
        damaged = bytearray(content)
        if number % 3 == 0:
            damaged = damaged[: rng.integers(len(content))]
        else:
            for place in rng.integers(len(content), size=5):
                damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            check_tflite_file(path)
        except ModelFileError:
            refused += 1
    assert refused > 100
