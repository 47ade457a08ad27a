"""SavedModels by TensorFlow's C API: the loader and the session of TensorFlow Serving."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from serving.tensorflow_c.c_api import SavedModelSession, TensorFlowError
from serving.tensorflow_c.c_functions import add_batch_function
from tests.support.serving.serving_cases import VERSION, shared_model
from tests.support.serving.serving_models import SLEEP_SECONDS

INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, FAILED_PRECONDITION = 3, 4, 5, 9


@pytest.fixture(scope="module")
def path():
    return shared_model() / str(VERSION)


@pytest.fixture(scope="module")
def session(path):
    with SavedModelSession(path) as session:
        yield session


def run(session, signature, inputs, outputs=None, **kwargs):
    """Runs a signature; returns its outputs by alias."""
    definition = session.signature_defs[signature]
    aliases = outputs or list(definition.outputs)
    feeds = {definition.inputs[alias].name: value for alias, value in inputs.items()}
    arrays = session.run(feeds, [definition.outputs[a].name for a in aliases], **kwargs)
    return dict(zip(aliases, arrays, strict=True))


def test_it_computes_what_tensorflow_computes(session, path):
    x = np.random.default_rng(0).normal(size=99).astype(np.float32)
    expected = tf.saved_model.load(str(path)).signatures["serving_default"](x=tf.constant(x))["y"]
    np.testing.assert_array_equal(run(session, "serving_default", {"x": x})["y"], expected)


def test_signatures_are_those_of_the_saved_model(session):
    assert session.signature_defs["pair"].inputs["a"].dtype == tf.float32
    assert {"serving_default", "strings", "classify"} <= set(session.signature_defs)


@pytest.mark.parametrize("as_proto", [False, True])
def test_strings_are_bytes_in_any_form(session, as_proto):
    sent = [b"", b"\x00\xff\x00", b"a" * 100_000]
    for array in (np.array(sent, object), np.array([["a"], ["b"]]), np.array([], object)):
        value = tf.make_tensor_proto(array, dtype=tf.string, shape=array.shape)
        found = run(session, "strings", {"text": value if as_proto else array})
        encoded = [s.encode() if isinstance(s, str) else s for s in array.ravel().tolist()]
        assert found["twice_bytes"].shape == array.shape
        assert found["twice_bytes"].ravel().tolist() == [s * 2 for s in encoded]


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)])
def test_any_shape_goes_through(session, shape):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    for value in (x, tf.make_tensor_proto(x)):
        found = run(session, "serving_default", {"x": value})["y"]
        np.testing.assert_array_equal(found, x / 2 + 2)
        assert found.flags.writeable


def test_arrays_need_not_be_contiguous(session):
    x = np.arange(20, dtype=np.float32)[::2]
    np.testing.assert_array_equal(run(session, "serving_default", {"x": x})["y"], x / 2 + 2)


@pytest.mark.parametrize(
    ("feeds", "fetches"),
    [
        ({"serving_default_x:0": np.int32([1])}, ["StatefulPartitionedCall:0"]),
        ({}, ["serving_default_x:0"]),
        ({"none:0": np.float32([1])}, ["serving_default_x:0"]),
        ({"serving_default_x:7": np.float32([1])}, ["serving_default_x:0"]),
        ({}, ["none"]),
        ({"serving_default_x:0": tf.make_tensor_proto(1.0).__class__(dtype=99)}, []),
    ],
    ids=["dtype", "missing", "operation", "index", "fetch", "proto"],
)
def test_what_cannot_be_run_is_tensorflows_error(session, feeds, fetches):
    with pytest.raises(TensorFlowError) as caught:
        session.run(feeds, fetches)
    assert caught.value.code == INVALID_ARGUMENT
    assert caught.value.message


def test_more_dimensions_than_tensorflow_knows_do_not_end_the_process(session):
    value = tf.make_tensor_proto(np.float32([3]))
    for _ in range(300):
        value.tensor_shape.dim.add(size=1)
    for content in ([], np.float32([3]).tobytes()):
        if content:
            value.ClearField("float_val")
            value.tensor_content = content
        with pytest.raises(TensorFlowError) as refused:
            run(session, "serving_default", {"x": value})
        assert refused.value.code == INVALID_ARGUMENT


def test_a_dtype_that_tensorflow_lacks_is_a_type_error(session):
    with pytest.raises(TypeError):
        session.run({"serving_default_x:0": np.array(["2020"], "datetime64[D]")}, [])


def test_a_folder_without_a_model_is_not_found(tmp_path):
    with pytest.raises(TensorFlowError, match="Could not find SavedModel") as caught:
        SavedModelSession(tmp_path)
    assert caught.value.code == NOT_FOUND


def test_unknown_tags_are_named(path):
    with pytest.raises(TensorFlowError, match="tag"):
        SavedModelSession(path, tags=["train"])


def test_other_threads_run_meanwhile(session):
    """16 runs that only wait end together, since none keeps the interpreter to itself."""
    import time

    started = time.monotonic()
    x = {"x": np.float32([1])}
    threads = [threading.Thread(target=run, args=(session, "sleep", x)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started < 16 * SLEEP_SECONDS / 2


def test_a_run_can_be_limited_in_time(session):
    with pytest.raises(TensorFlowError) as caught:
        run(session, "sleep", {"x": np.float32([1])}, timeout_s=SLEEP_SECONDS / 5)
    assert caught.value.code == DEADLINE_EXCEEDED


def test_closing_waits_for_what_is_under_way_and_ends_it_all(path):
    session = SavedModelSession(path)
    answers = []
    thread = threading.Thread(
        target=lambda: answers.append(run(session, "sleep", {"x": np.float32([2])})["y"])
    )
    thread.start()
    while not session._running:
        pass
    session.close()
    session.close()
    thread.join()
    np.testing.assert_array_equal(answers, [[3]])
    with pytest.raises(TensorFlowError, match="closed") as caught:
        session.run({}, [])
    assert caught.value.code == FAILED_PRECONDITION


def test_a_batch_function_computes_the_same_from_several_runs_at_once(path):
    with SavedModelSession(path) as session:
        definition = session.signature_defs["serving_default"]
        (x,), (y,) = (
            [info.name for info in tensors.values()]
            for tensors in (definition.inputs, definition.outputs)
        )
        (batched,) = add_batch_function(
            session,
            "together",
            [x],
            [y],
            {"num_batch_threads": 1, "max_batch_size": 3, "batch_timeout_micros": 30_000_000},
        )
        answers = {}
        threads = [
            threading.Thread(
                target=lambda n=n: answers.update({n: session.run({x: np.float32([n])}, [batched])})
            )
            for n in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)  # only a full batch of three is computed before half a minute is over
        assert {n: y.tolist() for n, (y,) in answers.items()} == {0: [2], 1: [2.5], 2: [3]}


def resident():
    import os

    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
def test_10_000_runs_leave_no_memory_behind(session):
    text = np.array([b"a" * 50_000, b"b"], object)

    def runs(count):
        for n in range(count):
            run(session, "strings", {"text": text if n % 2 else tf.make_tensor_proto(text)})
            with pytest.raises(TensorFlowError):
                run(session, "serving_default", {"x": np.int32([n])})
        return resident()

    before = runs(2000)
    assert runs(10_000) - before < 5


@pytest.mark.slow
def test_50_loads_leave_no_memory_behind(path):
    def loads(count):
        for _ in range(count):
            with SavedModelSession(path) as session:
                run(session, "serving_default", {"x": np.float32([1])})
        return resident()

    before = loads(20)
    assert loads(50) - before < 5
