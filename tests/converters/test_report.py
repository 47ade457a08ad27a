"""The report on a TFLite file: ops, partitions, weights and times, against files that are known."""

import importlib.metadata
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import levit_tf
from converters import report as command
from converters.reporting.litert_profiler import KernelTime, profile
from converters.reporting.report_graph import Op, TFLiteFile, read_tflite
from converters.reporting.report_times import time_by_op
from tests.support.cases import slow
from tests.support.commands import call
from tests.support.export_cases import CLASSES, shared_model


@pytest.fixture(scope="module")
def files(artefacts, tmp_path_factory):
    """A file of one partition in float32 and int8, and one of two."""
    two = tmp_path_factory.mktemp("report") / "two.tflite"
    two.write_bytes(two_partitions())
    return {"fp32": artefacts["fp32.tflite"], "int8": artefacts["int8.tflite"], "two": two}


def two_partitions():
    """Two convolutions around a cumulative sum, which XNNPACK does not have."""
    keras.utils.set_random_seed(0)
    convolutions = [keras.layers.Conv2D(64, 3, name=f"conv{n}") for n in range(2)]
    convolutions[0].build((1, 64, 64, 64))
    convolutions[1].build((1, 62, 62, 64))

    @tf.function(input_signature=[tf.TensorSpec((1, 64, 64, 64))])
    def network(x):
        return convolutions[1](tf.cumsum(convolutions[0](x), axis=1))

    module = tf.Module()
    module.network = network
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [network.get_concrete_function()], module
    )
    return converter.convert()


def report(capsys, path, *options):
    assert call(command, [str(path), "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_ops_are_counted_and_told_to_be_in_xnnpack(files, capsys):
    found = report(capsys, files["fp32"])
    assert found["bytes"] == files["fp32"].stat().st_size
    assert found["xnnpack_partitions"] == 1
    ops = {row["op"]: row for row in found["ops"]}
    assert (ops["CONV_2D"]["count"], ops["CONV_2D"]["types"]) == (31, ["float32"])
    assert ops["SOFTMAX"]["count"] == 4 + 1
    assert all(row["in_xnnpack"] == row["count"] for row in found["ops"])
    assert found["inputs"][0]["shape"] == [1, 32, 32, 3]
    assert list({tensor["shape"][1] for tensor in found["outputs"]}) == [CLASSES]


def test_quantised_ops_and_weights_show_their_types(files, capsys):
    found = report(capsys, files["int8"])
    ops = {row["op"]: row for row in found["ops"]}
    assert ops["CONV_2D"]["types"] == ["int8"]
    assert ops["HARD_SWISH"]["types"] == ["float32"]
    weights = {row["part"]: row["weights"] for row in found["parts"]}
    assert weights["stages_0_blocks_0_mlp"]["int8"] == 2 * 48 * 96


def test_weights_are_listed_by_the_parts_of_the_network_in_its_order(files, capsys):
    found = report(capsys, files["fp32"])
    parts = [row["part"] for row in found["parts"]]
    network = [part for part in parts if part not in ("(no name)", "normalize")]
    assert network == [
        *("stem_conv1", "stem_conv2", "stem_conv3"),
        *("stages_0_blocks_0_attn", "stages_0_blocks_0_mlp"),
        *("stages_1_downsample_attn", "stages_1_downsample_mlp"),
        *("stages_1_blocks_0_attn", "stages_1_blocks_0_mlp"),
        *("stages_2_downsample_attn", "stages_2_downsample_mlp"),
        *("stages_2_blocks_0_attn", "stages_2_blocks_0_mlp"),
        *("pre_logits", "classifier"),
    ]
    weights = {row["part"]: row["weights"].get("float32") for row in found["parts"]}
    assert weights["stem_conv2"] == 4 * (3 * 3 * 12 * 24 + 24)
    assert weights["classifier"] == 4 * (96 * CLASSES + CLASSES)
    all_bytes = sum(sum(row["weights"].values()) for row in found["parts"])
    assert 0.9 * found["bytes"] < all_bytes < found["bytes"]


def test_ops_outside_xnnpack_split_the_network(files, capsys):
    found = report(capsys, files["two"])
    assert found["xnnpack_partitions"] == 2
    outside = {row["op"]: row["count"] for row in found["ops"] if not row["in_xnnpack"]}
    assert outside == {"CUMSUM": 1}
    file = read_tflite(files["two"])
    order = [op.partition for op in file.ops if op.kind in ("CONV_2D", "CUMSUM")]
    assert order == [0, None, 1]
    assert call(command, [str(files["two"])]) == 0
    assert "XNNPACK runs" in (text := capsys.readouterr().out)
    assert "in 2 partitions" in text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["int8", slow("fp32"), slow("two")])
def test_times_of_all_kernels_belong_to_ops(files, capsys, name):
    found = report(capsys, files[name], "--time")
    kernels = sum(row["ms"] for row in found["kernels"])
    assert kernels > 0
    np.testing.assert_allclose(sum(row["ms"] for row in found["parts"]), kernels)
    np.testing.assert_allclose(sum(row["ms"] for row in found["ops_in_order"]), kernels)
    assert found["milliseconds"] > 0


@pytest.mark.parametrize("dtype", ["int32", "int64", "bool", "complex64"])
def test_outputs_of_other_types_are_timed_or_named(dtype, tmp_path):
    @tf.function(input_signature=[tf.TensorSpec((1, 8))])
    def network(x):
        return tf.cast(x, dtype)

    module = tf.Module()
    module.network = network
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [network.get_concrete_function()], module
    )
    path = tmp_path / "cast.tflite"
    path.write_bytes(converter.convert())
    arguments = path, [((1, 8), np.float32)], [((1, 8), dtype)]
    if dtype == "complex64":
        with pytest.raises(ValueError, match=r"cast\.tflite: has an output of type complex64"):
            profile(*arguments, runs=1)
    else:
        kernels, _ = profile(*arguments, runs=1)
        assert kernels


@pytest.mark.slow
def test_the_slow_ops_are_the_ones_that_take_the_time(files, capsys):
    found = report(capsys, files["two"], "--time")
    times = {}
    for row in found["ops_in_order"]:
        times.setdefault(row["op"], []).append(row["ms"])
    convolutions = times["CONV_2D"]
    assert min(convolutions) > 0.1 * max(convolutions)
    assert sum(convolutions) > 0.5 * sum(sum(ms) for ms in times.values())


@pytest.mark.slow
def test_tables_have_a_row_for_each_part(files, capsys):
    assert call(command, [str(files["int8"]), "--time"]) == 0
    text = capsys.readouterr().out
    assert "in 1 partition\n" in text
    assert "an inference takes" in text
    for part in ("stem_conv1", "stages_2_blocks_0_mlp", "classifier", "sum"):
        assert any(line.startswith(part) for line in text.splitlines())
    assert "Fully Connected" in text


@pytest.mark.slow
def test_errors_of_layers_are_those_against_the_float_file(files, capsys):
    options = [f"--against={files['fp32']}"]
    layers = report(capsys, files["int8"], *options)["layers"]
    names = list(layers)
    assert names.index("stem_conv1") < names.index("stages_2_blocks_0_mlp")
    assert names[-1] == "probabilities"
    assert all(0 < error["mean"] <= error["maximum"] for error in layers.values())
    exact = report(capsys, files["fp32"], *options)["layers"]
    assert {error["maximum"] for error in exact.values()} == {0}
    assert call(command, [str(files["int8"]), *options]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert any(row.split()[:1] == ["stem_conv1"] and len(row.split()) == 5 for row in rows)


@pytest.mark.slow
def test_errors_against_a_network_for_every_size_are_those_at_the_size_of_the_file(
    files, tmp_path, capsys
):
    levit_tf.with_input_size(shared_model(), None).save(tmp_path / "open.keras")
    layers = report(capsys, files["fp32"], f"--against={tmp_path / 'open.keras'}")["layers"]
    assert all(error["relative"] < 1e-4 for error in layers.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--images=folder"], "--images: pictures are for --against, which names no file"),
        (["--against=nothing.keras"], "nothing.keras"),
        (["--limit=0"], "--limit: expected at least 1"),
    ],
)
def test_options_of_errors_that_cannot_be_are_refused(files, options, message, capsys):
    assert call(command, [str(files["int8"]), *options]) == 1
    assert message in capsys.readouterr().err


def file_of(*kinds, partitions=1):
    ops = [Op(kind, ("float32",), None, 0) for kind in kinds]
    return TFLiteFile("x.tflite", 0, ops, partitions, {}, [], [])


def kernels_of(*names):
    return [KernelTime(name, None, n, 2.0**n) for n, name in enumerate(names)]


def test_merged_and_inserted_kernels_are_laid_beside_the_right_ops():
    file = file_of("PAD", "CONV_2D", "HARD_SWISH", "CONV_2D", "ADD")
    kernels = kernels_of(
        "Convolution (NHWC, F32) IGEMM",
        "HardSwish (NC)",
        "Convert (NC, F32, QD8)",
        "Fully Connected (NC, F32) GEMM",
        "Add (ND)",
    )
    assert time_by_op(file, kernels) == {1: 1.0, 2: 2.0, 3: 4.0 + 8.0, 4: 16.0}


def test_kernels_of_other_partitions_are_not_laid_beside_ops():
    assert time_by_op(file_of("CONV_2D", partitions=2), kernels_of("Convolution (x)")) is None


@pytest.mark.parametrize("content", [None, b"", b"TFL3" * 20, "half"])
def test_missing_and_damaged_files_are_named(files, tmp_path, capsys, content):
    path = tmp_path / "bad.tflite"
    if content == "half":
        content = files["fp32"].read_bytes()[:300_000]
    if content is not None:
        path.write_bytes(content)
    assert call(command, [str(path)]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {path}: ")
    assert ("no such file" if content is None else "truncated") in captured.err


def test_other_kinds_of_files_and_thread_counts_are_refused(files, tmp_path, capsys):
    (tmp_path / "model.onnx").write_bytes(b"x")
    assert call(command, [str(tmp_path / "model.onnx")]) == 1
    assert "expected a .tflite file" in capsys.readouterr().err
    assert call(command, [str(files["fp32"]), "--threads=0"]) == 1
    assert "--threads: expected at least 1" in capsys.readouterr().err


def test_times_need_the_version_of_litert_that_is_known(files, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "2.4.0")
    with pytest.raises(
        ImportError, match=r"need ai-edge-litert 2\.3: .* Found 2\.4\.0: pip install"
    ):
        profile(files["fp32"], [], [])
