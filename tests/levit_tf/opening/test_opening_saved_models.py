"""SavedModels are read before they are loaded: what could reach beyond the model is refused."""

import os
import re

import numpy as np
import pytest

from levit_common.regular_files import ModelFileError
from levit_tf.opening.operations import READING, WRITING, refusal
from levit_tf.opening.saved_models import GRAPH_FILE, check_saved_model

tf = pytest.importorskip("tensorflow")

PIXELS = tf.TensorSpec([None, 8, 8, 3], tf.float32, name="image")


def saved(path, compute, **tracked):
    """Writes a SavedModel whose signature is `compute` of pictures."""
    module = tf.Module()
    for name, value in tracked.items():
        setattr(module, name, value)
    module.serve = tf.function(compute, input_signature=[PIXELS])
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})
    return path


def mean(image):
    return tf.reduce_mean(image, axis=[1, 2])


def edited(path, change):
    """Changes a SavedModel's protocol buffer."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    graph = SavedModel.FromString((path / GRAPH_FILE).read_bytes())
    change(graph.meta_graphs[0])
    (path / GRAPH_FILE).write_bytes(graph.SerializeToString())


def function(meta_graph, part):
    """The first function with a name that contains `part`."""
    return next(f for f in meta_graph.graph_def.library.function if part in f.signature.name)


def after(operation, image):
    with tf.control_dependencies([operation]):
        return {"logits": mean(image)}


def from_dataset(dataset, image):
    return after(tf.io.decode_raw(dataset.take(1).get_single_element(), tf.uint8), image)


# By the operation that is named: what a signature does with files, processes and Python.
REACHING_OUT = {
    "WriteFile": lambda x: after(tf.io.write_file("written", "x"), x),
    "ReadFile": lambda x: after(tf.strings.length(tf.io.read_file("/etc/hostname")), x),
    "MatchingFiles": lambda x: after(tf.io.matching_files("/etc/*"), x),
    "EagerPyFunc": lambda x: after(tf.py_function(lambda: 1.0, [], tf.float32), x),
    "PyFunc": lambda x: after(tf.numpy_function(lambda: np.float32(1), [], tf.float32), x),
    "PyFuncStateless": lambda x: after(
        tf.numpy_function(lambda: np.float32(1), [], tf.float32, stateful=False), x
    ),
    "TFRecordDataset": lambda x: from_dataset(tf.data.TFRecordDataset("/etc/hostname"), x),
    "TextLineDataset": lambda x: from_dataset(tf.data.TextLineDataset("/etc/hostname"), x),
    "PrintV2 to a file": lambda x: after(tf.print("x", output_stream="file://written"), x),
    "DebugIdentityV3": lambda x: {
        "logits": tf.raw_ops.DebugIdentityV3(input=mean(x), debug_urls=["file://written"])
    },
    "SaveV2": lambda x: after(
        tf.raw_ops.SaveV2(
            prefix="written", tensor_names=["x"], shape_and_slices=[""], tensors=[mean(x)]
        ),
        x,
    ),
    "RestoreV2": lambda x: after(
        tf.raw_ops.RestoreV2(
            prefix="other", tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32]
        )[0],
        x,
    ),
    "ImmutableConst": lambda x: after(
        tf.raw_ops.ImmutableConst(dtype=tf.uint8, shape=[1], memory_region_name="/etc/hostname"), x
    ),
    "Abort": lambda x: after(tf.raw_ops.Abort(), x),
}


@pytest.mark.parametrize("operation", REACHING_OUT)
def test_operations_that_reach_beyond_the_model_are_refused_by_name(operation, tmp_path):
    saved(tmp_path / "model", REACHING_OUT[operation])
    with pytest.raises(ModelFileError, match=rf"model: not loaded.*: {operation} \(in function"):
        check_saved_model(tmp_path / "model")
    check_saved_model(tmp_path / "model", trust=True)


def test_the_refused_model_would_have_written_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "model", REACHING_OUT["WriteFile"])
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    loaded.signatures["serving_default"](image=tf.zeros((1, 8, 8, 3)))
    assert (tmp_path / "written").read_text() == "x"


def test_functions_within_functions_are_looked_at(tmp_path):
    def step(n):
        with tf.control_dependencies([tf.io.write_file("written", "x")]):
            return n + 1

    def compute(image):
        steps = tf.while_loop(lambda n: n < tf.shape(image)[0], step, [0])
        return {"logits": mean(image) + tf.cast(steps, tf.float32)}

    saved(tmp_path / "model", compute)
    with pytest.raises(ModelFileError, match=r"WriteFile \(in function .*while"):
        check_saved_model(tmp_path / "model")


def test_what_initialises_a_table_from_a_file_is_refused(tmp_path):
    (tmp_path / "words.txt").write_text("a\nb\n")
    initializer = tf.lookup.TextFileInitializer(
        str(tmp_path / "words.txt"),
        *(tf.string, tf.lookup.TextFileIndex.WHOLE_LINE),
        *(tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER),
    )
    table = tf.lookup.StaticHashTable(initializer, -1)
    saved(tmp_path / "model", lambda x: {"logits": mean(x)}, table=table)
    with pytest.raises(ModelFileError, match="InitializeTableFromTextFileV2"):
        check_saved_model(tmp_path / "model")


def test_variables_tables_control_flow_pictures_and_random_numbers_are_allowed(tmp_path):
    weights = tf.Variable(np.ones((3, 2), np.float32))
    keys, values = tf.constant(["a", "b"]), tf.constant([1.0, 2.0])
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), 0.0)

    def picture(content):
        return tf.cast(tf.io.decode_image(content, expand_animations=False)[0, 0, 0], tf.float32)

    def compute(image):
        encoded = tf.map_fn(
            tf.io.encode_png, tf.cast(image, tf.uint8), fn_output_signature=tf.string
        )
        decoded = tf.data.Dataset.from_tensor_slices(encoded).map(picture).batch(9)
        tf.debugging.assert_less(tf.shape(image)[0], 9)
        found = tf.matmul(mean(image), weights) + table.lookup(tf.constant("b"))
        found += decoded.get_single_element()[:, None]
        return {"logits": tf.cond(tf.shape(image)[0] > 1, lambda: found, lambda: 2 * found)}

    saved(tmp_path / "model", compute, weights=weights, table=table)
    check_saved_model(tmp_path / "model")
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    found = loaded.signatures["serving_default"](image=tf.fill((1, 8, 8, 3), 3.0))
    np.testing.assert_allclose(found["logits"], [[28.0, 28.0]])


def with_weights(path):
    weights = tf.Variable(np.ones((3, 2), np.float32))
    return saved(path, lambda x: {"logits": tf.matmul(mean(x), weights)}, weights=weights)


def test_the_savers_operations_are_its_own(tmp_path):
    path = with_weights(tmp_path / "model")
    check_saved_model(path)

    def without_saver(meta_graph):
        meta_graph.saver_def.Clear()

    edited(path, without_saver)
    with pytest.raises(ModelFileError, match=r"SaveV2 \(in function .*outside of the saver"):
        check_saved_model(path)


@pytest.mark.parametrize("way", ["call", "signature", "restore", "initialiser", "twin"])
def test_no_way_leads_from_outside_to_what_the_saver_writes_with(way, tmp_path):
    path = with_weights(tmp_path / "model")

    def lead(meta_graph):
        save = function(meta_graph, "traced_save").signature.name
        saving = meta_graph.saver_def.save_tensor_name
        if way == "call":
            node = function(meta_graph, "signature_wrapper").node_def.add(name="more")
            node.op = "StatefulPartitionedCall"
            node.attr["f"].func.name = save
        elif way == "signature":
            meta_graph.signature_def["serving_default"].outputs["more"].name = saving
        elif way == "restore":
            meta_graph.saver_def.restore_op_name = saving.partition(":")[0]
        elif way == "initialiser":
            meta_graph.collection_def["saved_model_main_op"].node_list.value.append(saving)
        else:
            for part in ("traced_save", "signature_wrapper"):
                function(meta_graph, part).attr["api_implements"].s = b"the same"

    edited(path, lead)
    with pytest.raises(ModelFileError, match=r"SaveV2 .*outside of the saver"):
        check_saved_model(path)


def test_an_operation_that_tensorflow_has_not_is_refused(tmp_path):
    path = with_weights(tmp_path / "model")
    edited(path, lambda m: m.graph_def.node.add(name="own", op="SomebodysOwn"))
    with pytest.raises(ModelFileError, match="SomebodysOwn, which TensorFlow has not"):
        check_saved_model(path)


def test_a_function_cannot_take_an_operations_name(tmp_path):
    path = with_weights(tmp_path / "model")

    def rename(meta_graph):
        function(meta_graph, "signature_wrapper").signature.name = "WriteFile"
        meta_graph.graph_def.node.add(name="own", op="WriteFile")

    edited(path, rename)
    with pytest.raises(ModelFileError, match="WriteFile"):
        check_saved_model(path)


def operations():
    """All of TensorFlow's, as its registry has them."""
    from tensorflow.core.framework.op_def_pb2 import OpList
    from tensorflow.python.client import pywrap_tf_session

    found = pywrap_tf_session.TF_GetAllOpList()
    return OpList.FromString(pywrap_tf_session.TF_GetBuffer(found)).op


# Named so for what they compute.
HARMLESS = {"CTCBeamSearchDecoder", "TensorSliceDataset"}  # top_paths, is_files


def test_whatever_takes_a_file_or_an_address_is_refused_in_this_tensorflow():
    suspicious = re.compile(r"file|path|(^|_)urls?$|address|descriptor_source|protocol|socket")
    found = {
        operation.name
        for operation in operations()
        for argument in (*operation.input_arg, *operation.attr)
        if suspicious.search(argument.name)
    }
    assert len(found) > 30
    assert not [name for name in found - HARMLESS - READING - WRITING if refusal(name, {}) is None]


def test_constants_larger_than_the_file_are_refused(tmp_path):
    path = with_weights(tmp_path / "model")

    def grow(meta_graph):
        node = meta_graph.graph_def.node.add(name="large", op="Const")
        tensor = node.attr["value"].tensor
        tensor.dtype = node.attr["dtype"].type = tf.float32.as_datatype_enum
        tensor.float_val.append(1)
        for _ in range(2):
            tensor.tensor_shape.dim.add(size=1 << 20)

    edited(path, grow)
    with pytest.raises(ModelFileError, match="declares 4,398,046,511,"):
        check_saved_model(path)


def test_a_pipe_in_the_folder_is_refused_and_not_read(tmp_path):
    path = with_weights(tmp_path / "model")
    index = path / "variables" / "variables.index"
    index.unlink()
    os.mkfifo(index)
    with pytest.raises(ModelFileError, match=r"variables\.index: expected a regular file.*a pipe"):
        check_saved_model(path, trust=True)


def test_a_damaged_graph_is_refused(tmp_path):
    path = with_weights(tmp_path / "model")
    (path / GRAPH_FILE).write_bytes((path / GRAPH_FILE).read_bytes()[:-3])
    with pytest.raises(ModelFileError, match="incomplete or damaged"):
        check_saved_model(path)
