"""What the tools say of files that could do harm: one line, and nothing of them runs."""

import numpy as np
import pytest
from PIL import Image

from converters import verify
from levit_common.shipped_names import INPUT, LOGITS, SIGNATURE
from levit_tf import classify
from levit_tf.opening.onnx_files import check_onnx_file
from levit_tf.prediction.network_files import read_network
from levit_tf.weights.keras_files import ModelFileError
from tests.support.commands import call
from training.teachers.teacher import load_teacher

tf = pytest.importorskip("tensorflow")


@pytest.fixture
def picture(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.png")
    return str(tmp_path / "picture.png")


@pytest.fixture
def writing(tmp_path):
    """A classifier that writes a file when it is run."""

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.float32, name=INPUT)])
        def serve(self, image):
            with tf.control_dependencies([tf.io.write_file(str(tmp_path / "written"), "x")]):
                return {LOGITS: tf.reduce_mean(image, [1, 2])}

    model = Model()
    tf.saved_model.save(model, str(tmp_path / "model"), signatures={SIGNATURE: model.serve})
    return tmp_path / "model"


def one_line(capsys):
    """What was printed as an error, which must be a line."""
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    return error


def test_no_tool_loads_a_model_that_writes_files(writing, picture, tmp_path, capsys):
    assert call(classify, [f"--model={writing}", picture]) == 1
    assert "WriteFile (in function" in one_line(capsys)
    assert call(verify, [writing, writing]) == 2
    assert "--trust loads it" in one_line(capsys)
    with pytest.raises(ModelFileError, match=r"WriteFile.*--set=trust_teacher=true loads it"):
        load_teacher(writing, (8, 8), 3)
    assert not (tmp_path / "written").exists()


def test_who_trusts_a_model_may_run_it(writing, picture, tmp_path):
    assert call(classify, [f"--model={writing}", picture, "--trust"]) == 0
    assert (tmp_path / "written").exists()
    assert load_teacher(writing, (8, 8), 3, trust=True)
    assert verify.open_artefact(writing, trust=True).network.classes == 3


def test_pictures_that_nobody_has_are_not_made(tmp_path):
    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, 60_000, 60_000, 3), tf.float32, INPUT)])
        def serve(self, image):
            return {LOGITS: tf.reduce_mean(image, [1, 2])}

    model = Model()
    tf.saved_model.save(model, str(tmp_path / "model"), signatures={SIGNATURE: model.serve})
    with pytest.raises(ModelFileError, match=r"takes pictures of shape .*60000"):
        read_network(tmp_path / "model")


# ONNX.


def onnx_file(path, nodes=(), initializers=(), sparse=()):
    """Logits are the means of the channels, plus whatever `nodes` make of it."""
    onnx = pytest.importorskip("onnx")
    helper, types = onnx.helper, onnx.TensorProto
    mean = helper.make_node("ReduceMean", [INPUT], ["mean"], axes=[1, 2], keepdims=0)
    last = helper.make_node("Identity", ["result" if nodes else "mean"], [LOGITS])
    graph = helper.make_graph(
        [mean, *nodes, last],
        "graph",
        [helper.make_tensor_value_info(INPUT, types.FLOAT, ["n", 8, 8, 3])],
        [helper.make_tensor_value_info(LOGITS, types.FLOAT, ["n", 3])],
        initializers,
        sparse_initializer=sparse,
    )
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("others", 1)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def test_an_onnx_file_without_tricks_is_run(tmp_path):
    network = read_network(onnx_file(tmp_path / "a.onnx"))
    np.testing.assert_allclose(network.outputs(np.ones((2, 8, 8, 3), np.float32))[LOGITS], 1)


def added(node):
    """Nodes that add what `node` makes."""
    from onnx import helper

    return [
        node,
        helper.make_node("ReduceSum", ["made"], ["sum"], keepdims=0),
        helper.make_node("Add", ["mean", "sum"], ["result"]),
    ]


def test_what_onnx_files_compute_may_not_fill_the_memory(tmp_path):
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    shape = helper.make_tensor("shape", onnx.TensorProto.INT64, [2], [1 << 20, 1 << 20])
    make = helper.make_node("ConstantOfShape", ["shape"], ["made"])
    path = onnx_file(tmp_path / "a.onnx", added(make), [shape])
    assert path.stat().st_size < 1000
    with pytest.raises(ModelFileError, match=r"a\.onnx: cannot be run") as error:
        read_network(path).outputs(np.ones((1, 8, 8, 3), np.float32))
    assert len(str(error.value).splitlines()) == 1


def test_onnx_files_hold_all_of_their_tensors_and_no_others_files(tmp_path):
    onnx = pytest.importorskip("onnx")
    helper, types = onnx.helper, onnx.TensorProto

    outside = onnx.TensorProto(name="made", data_type=types.FLOAT, dims=[4])
    outside.data_location = types.EXTERNAL
    outside.external_data.add(key="location", value="../../etc/passwd")
    large = onnx.TensorProto(name="made", data_type=types.FLOAT, dims=[1 << 20, 1 << 20])
    large.raw_data = b"0000"
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("made", types.FLOAT, [1], [1.0]),
        helper.make_tensor("i", types.INT64, [1], [0]),
        [1 << 40],
    )
    context = helper.make_node("EPContext", [INPUT], ["made"], domain="com.microsoft")
    unknown = helper.make_node("Anything", [INPUT], ["made"], domain="others")
    constant = helper.make_node("Constant", [], ["made"], value=large)
    branch = helper.make_graph(
        [constant], "branch", [], [helper.make_tensor_value_info("made", types.FLOAT, None)]
    )
    condition = helper.make_node(
        "If", ["condition"], ["made"], then_branch=branch, else_branch=branch
    )
    cases = {
        "'made' is in another file": {"initializers": [outside]},
        r"'made' has the shape \[1048576, 1048576\]": {"initializers": [large]},
        "has sparse tensors": {"sparse": [sparse]},
        "operation EPContext, which loads another file": {"nodes": added(context)},
        "operation Anything of 'others'": {"nodes": added(unknown)},
        r"'made' has the shape": {"nodes": added(constant)},
        r"has the shape": {"nodes": added(condition)},
    }
    for reason, parts in cases.items():
        path = onnx_file(tmp_path / "a.onnx", **parts)
        for check in (check_onnx_file, read_network):
            with pytest.raises(ModelFileError, match=rf"a\.onnx: .*{reason}") as error:
                check(path)
            assert len(str(error.value).splitlines()) == 1
