"""`python -m serving.batch` answers every picture once, also where it was killed in the middle.

Apache Beam has an environment of its own, which `make test-batch` makes; these skip without.
"""

import json
import os
import shutil
import signal
import subprocess
import time
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import levit_tf
from converters.tflite.conversion import to_tflite
from levit_lite.images import load_cropped
from levit_tf.prediction.predictor import load_predictor
from tests.support.artefacts import NAMES
from tests.support.commands import ENVIRONMENT
from tests.support.training.data_cases import encoded, picture

ROOT = Path(__file__).resolve().parents[3]
PYTHON = Path(os.environ.get("BEAM_PYTHON", ROOT / ".venv-beam/bin/python"))
PICTURES, BAD = 12, 3
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="make test-batch makes Beam's environment"),
]


@pytest.fixture(scope="module")
def model(artefacts):
    return artefacts["fp32.tflite"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for n in range(PICTURES):
        (folder / f"{n:02}.jpg").write_bytes(encoded(picture(n)))
    for n in range(BAD):
        (folder / f"bad{n}.jpg").write_bytes(encoded(picture(n))[: 200 + n])
    return folder


def example(features):
    """A serialised tf.Example of bytes."""
    feature = {
        key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for key, value in features.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def written_records(path, records):
    options = "GZIP" if path.suffix == ".gz" else None
    with tf.io.TFRecordWriter(str(path), options) as writer:
        for record in records:
            writer.write(record)
    return path


def command(model, pattern, output, *arguments):
    options = [f"--model={model}", f"--input={pattern}", f"--output={output}", "--shards=4"]
    return [str(PYTHON), "-m", "serving.batch", *options, *map(str, arguments)]


def run(*arguments):
    return run_python(*command(*arguments)[1:])


def run_python(*arguments):
    return subprocess.run(
        [str(PYTHON), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
    )


def lines(folder, pattern="part-*.jsonl"):
    return [
        json.loads(line)
        for file in sorted(Path(folder).glob(pattern))
        for line in file.read_text().splitlines()
    ]


def names(rows):
    return sorted(Path(row["name"]).name for row in rows)


def check_answers(model, rows):
    predictor = load_predictor(model)
    for row in rows:
        image = load_cropped(row["name"], predictor.input_size)
        (expected,) = predictor.predict(image[None])
        best = np.argsort(-expected, kind="stable")[: len(row["top"])]
        assert [entry["class"] for entry in row["top"]] == [NAMES[n] for n in best]


def test_every_picture_is_answered_once_and_the_bad_ones_are_told(model, pictures, tmp_path):
    done = run(model, pictures / "*.jpg", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    rows = lines(tmp_path / "out")
    assert sorted(Path(row["name"]).name for row in rows) == [
        f"{n:02}.jpg" for n in range(PICTURES)
    ]
    check_answers(model, rows)
    bad = lines(tmp_path / "out", "bad/part-*.jsonl")
    assert names(bad) == [f"bad{n}.jpg" for n in range(BAD)]
    assert all("truncated" in row["error"] for row in bad)
    counters = json.loads(done.stdout.splitlines()[-1])
    size = sum(path.stat().st_size for path in pictures.iterdir())
    shards = [path.stem.removeprefix("part-") for path in (tmp_path / "out").glob("part-*")]
    found = {"shards": len(shards), "shards_found": 0}
    assert counters == {"pictures": PICTURES, "bad": BAD, "bytes": size} | found
    assert all(f"shard {shard}: " in done.stderr for shard in shards)
    again = run(model, pictures / "*.jpg", tmp_path / "out")
    assert again.returncode == 1
    assert "exists already and is finished" in again.stderr


def test_a_run_that_was_stopped_is_finished_by_the_same_command(model, pictures, tmp_path):
    many = tmp_path / "many"
    many.mkdir()
    for n in range(400):
        shutil.copy(pictures / f"{n % PICTURES:02}.jpg", many / f"{n:03}.jpg")
    output = tmp_path / "out"
    with subprocess.Popen(
        command(model, many / "*.jpg", output),
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        start_new_session=True,
    ) as process:
        while process.poll() is None and not list(output.glob("part-*")):
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    kept = {file: file.stat().st_mtime_ns for file in output.glob("part-*")}
    assert len(kept) > 0
    assert not (output / "summary.json").exists()
    other = run(model, many / "*.jpg", output, "--top=2")
    assert other.returncode == 1
    assert "was begun with another top" in other.stderr
    first, content = many / "000.jpg", (many / "000.jpg").read_bytes()
    shard = zlib.crc32(bytes(first)) % 4
    renamed = (many / f"{n}.jpg" for n in range(400, 500))
    same_shard = next(path for path in renamed if zlib.crc32(bytes(path)) % 4 == shard)
    for path, changed in ((same_shard, content), (first, content + b"\0")):
        first.unlink()
        path.write_bytes(changed)
        other = run(model, many / "*.jpg", output)
        assert other.returncode == 1
        assert "was begun with another file_list" in other.stderr
        path.unlink()
        first.write_bytes(content)
    done = run(model, many / "*.jpg", output)
    assert done.returncode == 0, done.stderr
    assert names(lines(output)) == [f"{n:03}.jpg" for n in range(400)]
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert not list(output.glob(".tmp-*"))
    counters = json.loads((output / "summary.json").read_text())
    shards = len(list(output.glob("part-*")))
    assert (counters["pictures"], counters["bad"], counters["shards"]) == (400, 0, shards)
    assert counters["shards_found"] == len(kept)


def test_an_output_that_an_earlier_version_began_is_finished(model, pictures, tmp_path):
    """Which wrote neither counts nor the names in the model's file."""
    output = tmp_path / "out"
    assert run(model, pictures / "*.jpg", output).returncode == 0
    expected = lines(output)
    (output / "summary.json").unlink()
    shutil.rmtree(output / "counts")
    settings = json.loads((output / "settings.json").read_text())
    (output / "settings.json").write_text(json.dumps(settings | {"labels": None}))
    first, *others = sorted(output.glob("part-*"))
    first.unlink()
    done = run(model, pictures / "*.jpg", output)
    assert done.returncode == 0, done.stderr
    assert lines(output) == expected
    counters = json.loads((output / "summary.json").read_text())
    assert counters["shards_found"] == counters["shards_uncounted"] == len(others)
    assert counters["pictures"] == len(lines(output, first.name))


def test_a_model_without_names_has_those_beside_it(model, pictures, tmp_path):
    """As with `serving.edge`."""
    plain, content = tmp_path / "plain.tflite", model.read_bytes()
    plain.write_bytes(content[: content.rindex(b"PK\x03\x04")])  # the archive of its names
    given = [f"name {n}" for n in range(len(NAMES))]
    (tmp_path / "labels.txt").write_text("\n".join(given))
    done = run(plain, pictures / "00.jpg", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    (row,) = lines(tmp_path / "out")
    assert all(entry["class"] == given[entry["index"]] for entry in row["top"])
    assert json.loads((tmp_path / "out/settings.json").read_text())["labels"] == given


def converted(channels, path):
    """A .tflite file of a linear network that takes so many channels."""
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((32, 32, channels)),
            layers.AveragePooling2D(8),
            layers.Flatten(),
            layers.Dense(len(NAMES), "softmax"),
        ]
    )
    to_tflite(levit_tf.with_properties(network, input_range="unit", class_names=NAMES), path)
    return path


def test_a_network_of_one_channel_gets_the_brightness(pictures, tmp_path):
    """As in `Predictor`."""
    grey = converted(1, tmp_path / "grey.tflite")
    done = run(grey, pictures / "0*.jpg", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    rows = lines(tmp_path / "out")
    assert len(rows) == 10
    check_answers(grey, rows)


def test_a_network_of_two_channels_is_refused_before_anything_is_written(pictures, tmp_path):
    done = run(converted(2, tmp_path / "two.tflite"), pictures / "*.jpg", tmp_path / "out")
    assert done.returncode == 1
    assert "two.tflite: takes 2 channels" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


_REMOTE = """
import sys
from apache_beam.io.localfilesystem import LocalFileSystem
from serving.batch.__main__ import main

class Remote(LocalFileSystem):
    def __init__(self, pipeline_options):
        if pipeline_options is None:
            raise ValueError("no options")
        super().__init__(pipeline_options)

    @classmethod
    def scheme(cls):
        return "remote"

    def exists(self, path):
        return super().exists(path.removeprefix("remote:/"))

    def open(self, path, *arguments, **keywords):
        return super().open(path.removeprefix("remote:/"), *arguments, **keywords)

sys.exit(main(sys.argv[1:]))
"""


def test_a_file_system_that_needs_beam_s_options_has_them(model, pictures, tmp_path):
    """As those of S3, HDFS and Azure do, before there is a pipeline, too."""
    arguments = command(f"remote:/{model}", pictures / "00.jpg", tmp_path / "out")[3:]
    done = run_python("-c", _REMOTE, *arguments)
    assert done.returncode == 0, done.stderr
    assert names(lines(tmp_path / "out")) == ["00.jpg"]


_CRASHING = """
import sys
from levit_lite.prediction import tflite_network
from levit_common.regular_files import ModelFileError
from serving.batch.__main__ import main

def crash(path):
    raise ModelFileError("LiteRT crashes")

tflite_network.check_tflite_runs = crash
sys.exit(main(sys.argv[1:]))
"""


def test_the_model_is_tried_in_another_process_before_there_are_workers(model, pictures, tmp_path):
    arguments = command(model, pictures / "00.jpg", tmp_path / "out")[3:]
    done = run_python("-c", _CRASHING, *arguments)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: LiteRT crashes"
    assert not (tmp_path / "out").exists()


_FAILING = """
import builtins, sys
from apache_beam.io.filesystems import FileSystems
from serving.batch.__main__ import main

really_open = FileSystems.open

def fail_for_one(path, *arguments, **keywords):
    if path.endswith("00.jpg"):
        raise getattr(builtins, sys.argv[1])(5, "as the test asks")
    return really_open(path, *arguments, **keywords)

FileSystems.open = staticmethod(fail_for_one)
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("error", ["PermissionError", "OSError"])
def test_a_picture_that_cannot_be_opened_is_told_or_tried_again(error, model, pictures, tmp_path):
    arguments = command(model, pictures / "*.jpg", tmp_path / "out")[3:]
    done = run_python("-c", _FAILING, error, *arguments)
    bad = {Path(row["name"]).name: row["error"] for row in lines(tmp_path / "out", "bad/*.jsonl")}
    if error == "PermissionError":
        assert done.returncode == 0, done.stderr
        assert bad["00.jpg"] == "cannot be read: as the test asks."
        assert len(lines(tmp_path / "out")) == PICTURES - 1
    else:  # it may pass: Beam's runners try again, and the shard stays unwritten until then
        assert done.returncode != 0
        assert "as the test asks" in done.stderr
        assert "00.jpg" not in bad
        assert not (tmp_path / "out/summary.json").exists()


def test_records_come_in_and_go_out(model, pictures, tmp_path):
    contents = [(pictures / f"{n:02}.jpg").read_bytes() for n in range(3)]
    record = written_records(
        tmp_path / "in.tfrecord",
        [
            example({"image/encoded": content, "image/filename": f"picture {n}".encode()})
            for n, content in enumerate(contents)
        ],
    )
    done = run(model, record, tmp_path / "a", "--input_format=tfrecord", "--output_format=tfrecord")
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "a").glob("part-*.tfrecord")
    rows = [json.loads(r.numpy()) for r in tf.data.TFRecordDataset(str(file))]
    assert [row["name"] for row in rows] == ["picture 0", "picture 1", "picture 2"]

    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    table = pyarrow.table({"image": contents, "name": ["a", "b", "c"]})
    parquet.write_table(table, tmp_path / "in.parquet")
    done = run(
        model,
        tmp_path / "in.parquet",
        tmp_path / "b",
        "--input_format=parquet",
        "--output_format=parquet",
        "--embedding=probabilities",
    )
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "b").glob("part-*.parquet")
    found = parquet.read_table(file).to_pylist()
    assert [row["name"] for row in found] == ["a", "b", "c"]
    for row, other in zip(found, rows, strict=True):
        assert row["top"] == other["top"]
        assert max(row["embedding"]) == pytest.approx(row["top"][0]["probability"], abs=1e-5)


def damaged(path):
    """Cuts a file off, or changes bytes in the middle of a compressed one."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    if path.suffix == ".tfrecord":
        del content[middle:]
    else:
        content[middle : middle + 40] = bytes(40)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["in.tfrecord", "in.tfrecord.gz", "in.parquet", "cut.parquet"])
def test_where_records_are_damaged_the_rest_is_one_unreadable_picture(
    name, model, pictures, tmp_path
):
    content, path = (pictures / "00.jpg").read_bytes(), tmp_path / name
    if path.suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        import pyarrow

        table = pyarrow.table({"image": [content[:-n] + os.urandom(n) for n in range(1, 500)]})
        parquet.write_table(table, path, row_group_size=64, compression="gzip")
        if name.startswith("cut"):
            path.write_bytes(path.read_bytes()[:-100])
        kind = "parquet"
    else:
        written_records(path, [example({"image/encoded": content})] * 3)
        kind = "tfrecord"
    damaged(path)
    done = run(model, path, tmp_path / "out", f"--input_format={kind}")
    assert done.returncode == 0, done.stderr
    rows, bad = lines(tmp_path / "out"), lines(tmp_path / "out", "bad/*.jsonl")
    assert "damaged or cut off here" in bad[-1]["error"]
    assert bad[-1]["name"] == f"{path}#{len(rows) + len(bad) - 1}"
    assert 0 < len(rows) + len(bad) < 499


def test_what_is_no_example_and_what_holds_no_picture_is_told(model, pictures, tmp_path):
    content = (pictures / "00.jpg").read_bytes()
    records = [b"no example", example({"image/encoded": content}), example({})]
    path = written_records(tmp_path / "in.tfrecord", records)
    done = run(model, path, tmp_path / "out", "--input_format=tfrecord")
    assert done.returncode == 0, done.stderr
    assert [row["name"] for row in lines(tmp_path / "out")] == [f"{path}#1"]
    bad = {row["name"]: row["error"] for row in lines(tmp_path / "out", "bad/*.jsonl")}
    assert bad[f"{path}#0"] == "the record is no tf.Example."
    assert set(bad) == {f"{path}#0", f"{path}#2"}


def test_a_parquet_file_needs_a_column_of_pictures(model, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    arguments = model, tmp_path / "*.parquet", tmp_path / "out", "--input_format=parquet"
    parquet.write_table(pyarrow.table({"picture": [b"x"]}), tmp_path / "a.parquet")
    done = run(*arguments)
    assert done.returncode == 1
    assert "a.parquet: expected a column 'image'" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()
    parquet.write_table(pyarrow.table({"image": ["a path"]}), tmp_path / "a.parquet")
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    (bad,) = lines(tmp_path / "out", "bad/*.jsonl")
    assert bad["error"] == "no bytes in the column 'image'."


def test_every_parquet_shard_has_the_same_columns(model, pictures, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    arguments = "--output_format=parquet", "--shards=1", "--embedding=probabilities"
    for pattern in ("0*.jpg", "bad*.jpg"):
        done = run(model, pictures / pattern, tmp_path / pattern[0], *arguments)
        assert done.returncode == 0, done.stderr
    full, empty = (parquet.read_table(next((tmp_path / x).glob("part-*"))) for x in "0b")
    assert (len(full), len(empty)) == (10, 0)
    assert full.schema == empty.schema
    assert full.schema.names == ["name", "embedding", "top"]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_names_of_files_need_not_be_utf_8(kind, model, pictures, tmp_path):
    folder = os.fsencode(tmp_path) + b"/\xe9"
    os.mkdir(folder)
    wide = "/\u732b\u3000\u72ac.jpg"  # UTF-8 with a wide space
    for name in (b"/caf\xe9.jpg", b"/bad\xe9.jpg", wide.encode()):
        content = (pictures / "00.jpg").read_bytes()
        with open(folder + name, "wb") as file:
            file.write(content[:200] if b"bad" in name else content)
    output = tmp_path / "out"
    done = run(model, tmp_path / "*/*.jpg", output, f"--output_format={kind}", "--shards=1")
    assert done.returncode == 0, done.stderr
    (bad,) = lines(output, "bad/*.jsonl")
    assert bad["name"] == os.fsdecode(folder + b"/bad\xe9.jpg")
    if kind == "jsonl":
        found = [row["name"] for row in lines(output)]
        assert sorted(found) == [os.fsdecode(folder + b"/caf\xe9.jpg"), os.fsdecode(folder) + wide]
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        found = parquet.read_table(next(output.glob("part-*")))["name"].to_pylist()
        assert sorted(found) == [f"{tmp_path}/\\udce9{name}" for name in ("/caf\\udce9.jpg", wide)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{model}", "{pictures}/*.webp", "{out}"), "--input: nothing matches"),
        (("{model}", "{pictures}/*.jpg", "{pictures}"), "exists already and is no output"),
        (("gone.tflite", "{pictures}/*.jpg", "{out}"), "gone.tflite: no such file"),
        (
            ("{model}", "{pictures}/*.jpg", "{out}", "--embedding=x"),
            "has no output 'x'",
        ),
        (("{model}", "{pictures}/*.jpg", "{out}", "--top=0"), "--top: expected at least 1"),
        (("{model}", "{pictures}", "{out}"), "is a folder. Give a pattern of its files"),
        (("{model}", "{pictures}/", "{out}"), "is a folder. Give a pattern of its files"),
        (("{model}", "{pictures}/*.jpg", "{out}", "more.jpg"), "more.jpg: belongs to no flag"),
        (
            ("{model}", "{pictures}/*.jpg", "{out}", "--lables=x"),
            "--lables: neither a flag of this command nor one of Beam. Did you mean '--labels'?",
        ),
        (
            ("{model}", "{pictures}/*.jpg", "{out}", "--runner=FlinkRunner", "--lables=x"),
            "Did you mean '--labels'?",
        ),
        (
            ("{model}", "{pictures}/*.jpg", "{out}", "--direct_num_worker=2"),
            "Did you mean '--direct_num_workers'?",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    arguments, message, model, pictures, tmp_path
):
    places = {"model": model, "pictures": pictures, "out": tmp_path / "out"}
    done = run(*(text.format(**places) for text in arguments))
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()
