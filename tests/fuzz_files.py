"""Opens damaged files of every format, each in a process of its own.

    python -m tests.fuzz_files --seconds=600

A file is opened as the tools open it, and a network that opens is run once. Whatever the file
holds, the result is a network or an error for the user: no signal ends the process, no other
exception gets out, and neither memory nor time runs out. What fails is kept in `--keep`.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

SECONDS = 60  # for one file; a machine may be busy
MEMORY = 4 << 30  # bytes of address space for one file, beside what the process has
PICTURES = 1
_USER_ERRORS = (ValueError, OSError, ImportError)  # as in levit_common.cli
_LARGE = (-1, 0, 1, 99, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
_OPENED, _REFUSED = "opened", "refused"


def write_seeds(folder: Path) -> None:
    """Writes a small file of each format."""
    import keras
    import numpy as np
    import tensorflow as tf
    from safetensors.numpy import save_file

    from converters.to_onnx import to_onnx
    from levit_common.shipped_names import INPUT, PROBABILITIES, SIGNATURE

    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((16, 16, 3))
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(4, 3, 2, padding="same", activation="relu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.Dense(3, activation="softmax")(x))
    model.save(folder / "a.keras")
    model.save_weights(folder / "a.weights.h5")
    arrays = {weight.path: np.asarray(weight) for weight in model.weights}
    save_file(arrays, folder / "a.safetensors")
    (folder / "labels.txt").write_text("cat\ndog\nMäuse\n", encoding="utf-8")

    def serve(image):
        return {PROBABILITIES: model(image)}

    archive = keras.export.ExportArchive()
    archive.track(model)
    spec = [tf.TensorSpec([None, 16, 16, 3], tf.float32, name=INPUT)]
    archive.add_endpoint(SIGNATURE, serve, input_signature=spec)
    archive.write_out(str(folder / "saved_model"), verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model"))
    (folder / "a.tflite").write_bytes(converter.convert())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    images = np.random.default_rng(0).uniform(0, 255, (4, 1, 16, 16, 3)).astype(np.float32)
    converter.representative_dataset = lambda: ({INPUT: picture} for picture in images)
    (folder / "int8.tflite").write_bytes(converter.convert())
    with contextlib.suppress(ImportError):
        to_onnx(model, folder / "a.onnx", input_range="pixels")
    with contextlib.suppress(ImportError):
        import torch

        torch.save({key: torch.from_numpy(a) for key, a in arrays.items()}, folder / "a.pth")


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, cut off, repeated or put in."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        place = rng.randrange(max(1, len(data)))
        kind = rng.randrange(7)
        if kind == 0:
            del data[place:]
        elif kind == 1:
            del data[place : place + rng.choice((1, 4, 64))]
        elif kind == 2:
            data[place:place] = data[place : place + rng.choice((1, 8, 256))]
        elif kind == 3:
            data[place : place + 1] = bytes([rng.randrange(256)])
        elif kind == 4:
            data[place : place + 1] = bytes([(data[place] if data else 0) ^ 1 << rng.randrange(8)])
        else:
            width = rng.choice((1, 2, 4, 8))
            value = rng.choice(_LARGE) % 2 ** (8 * width)
            place -= place % width
            data[place : place + width] = value.to_bytes(width, "little")
    return bytes(data)


def damaged_json(content: bytes, rng: random.Random) -> bytes:
    """One value exchanged for another."""
    document = json.loads(content)
    places = []

    def visit(node):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            places.append((node, key))
            if isinstance(child, (dict, list)):
                visit(child)

    visit(document)
    for _ in range(rng.choice((1, 1, 2))):
        node, key = rng.choice(places)
        other, name = rng.choice(places)
        with contextlib.suppress(IndexError, KeyError, TypeError):
            node[key] = rng.choice(
                (*_LARGE, None, "", "x", [], {}, [[]], -0.5, 1e308, other[name], [node[key]])
            )
    try:
        return json.dumps(document).encode()
    except (ValueError, RecursionError):  # a value that holds itself
        return content


def damaged_message(message, rng: random.Random) -> None:
    """One field of a protocol buffer, however deep, is changed, removed or repeated."""
    while True:
        fields = message.ListFields()
        if not fields:
            return
        field, value = rng.choice(fields)
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if is_map:
            key = rng.choice(sorted(value))
            if field.message_type.fields_by_name["value"].message_type is None:
                del value[key]
                return
            message = value[key]
            continue
        if field.message_type is not None:
            if not isinstance(value, type(message)) and hasattr(value, "add"):
                place = rng.randrange(len(value))
                kind = rng.randrange(8)
                if kind == 0:
                    del value[place]
                    return
                if kind == 1:
                    value.add().CopyFrom(value[place])
                    return
                message = value[place]
            else:
                message = value
            continue
        values = list(value) if hasattr(value, "append") else [value]
        place = rng.randrange(len(values))
        values[place] = _other(values[place], rng)
        with contextlib.suppress(ValueError, TypeError):
            if hasattr(value, "append"):
                del value[:]
                value.extend(values)
            else:
                setattr(message, field.name, values[0])
        return


def _other(value, rng: random.Random):
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice((*_LARGE, value + 1, value - 1, -value))
    if isinstance(value, float):
        return rng.choice((0.0, -1.0, 1e308, float("nan"), float("inf")))
    if isinstance(value, bytes):
        return damaged(value, rng)
    return rng.choice(("", "x", "../../etc/passwd", value + ":1", value[:-1], "WriteFile"))


def damaged_tflite(content: bytes, rng: random.Random) -> bytes:
    """One number of the schema's objects, however deep, is changed, or an item removed."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    places = []

    def visit(node):
        for name, value in vars(node).items():
            items = value if isinstance(value, list) else [value]
            for item in items:
                if hasattr(item, "__dict__") and not isinstance(item, type):
                    visit(item)
            is_data = name == "data"  # of constants
            if not is_data and value is not None and not hasattr(value, "__dict__"):
                places.append((node, name, value))

    visit(model)
    node, name, value = rng.choice(places)
    value = value.item() if hasattr(value, "item") and not getattr(value, "shape", ()) else value
    if isinstance(value, (int, float, bool, bytes)):
        setattr(node, name, _other(value, rng))
    elif len(value):
        items = value.tolist() if hasattr(value, "tolist") else list(value)
        place = rng.randrange(len(items))
        if isinstance(items[place], (list, bytes)) or hasattr(items[place], "__dict__"):
            items.insert(place, items.pop(rng.randrange(len(items))))
            del items[place : place + rng.randrange(2)]
        else:
            items[place] = rng.choice((*_LARGE, *map(int, items)))
        setattr(node, name, items)
    try:
        return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    except Exception:  # a number that its field does not hold
        return damaged(content, rng)


def damaged_graph(content: bytes, rng: random.Random, name: str) -> bytes:
    """A SavedModel's or ONNX's graph with other fields."""
    if name == "saved_model.pb":
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel as Message
    else:
        from onnx import ModelProto as Message
    message = Message.FromString(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        damaged_message(message, rng)
    return message.SerializePartialToString()


def in_its_format(content: bytes, name: str, rng: random.Random) -> bytes:
    """Damage that leaves the format whole, where there is one."""
    if rng.random() < 0.3:
        return damaged(content, rng)
    if name.endswith(".tflite"):
        return damaged_tflite(content, rng)
    if name.endswith((".onnx", "saved_model.pb")):
        return damaged_graph(content, rng, name)
    if name.endswith(".json"):
        return damaged_json(content, rng)
    return damaged(content, rng)


def damage(seed: Path, target: Path, rng: random.Random) -> None:
    """Writes a damaged copy of a file or of a SavedModel."""
    if seed.is_dir():
        names = [str(path.relative_to(seed)) for path in sorted(seed.rglob("*")) if path.is_file()]
        # Most of them the graph, which is what programs are made of.
        chosen = rng.choice(["saved_model.pb"] * 4 + names)
        for name in names:
            content = (seed / name).read_bytes()
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            content = in_its_format(content, name, rng) if name == chosen else content
            (target / name).write_bytes(content)
        return
    content = seed.read_bytes()
    if seed.suffix not in (".keras", ".pth") or rng.random() < 0.2:
        target.write_bytes(in_its_format(content, seed.name, rng))
        return
    with zipfile.ZipFile(seed) as old, zipfile.ZipFile(target, "w") as new:
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            member = old.read(name)
            if name == chosen:
                member = in_its_format(member, name, rng)
            new.writestr(name, member)


def open_file(path: Path) -> None:
    """Opens a file as the tools do, and runs the network that it holds."""
    import numpy as np

    from levit_lite.class_names import read_labels
    from levit_tf.prediction.network_files import read_network
    from levit_tf.weights.checkpoint_files import read_checkpoint
    from levit_tf.weights.weights_file import read_weights_file

    if path.name == "labels.txt":
        read_labels(path)
    elif path.name.endswith(".weights.h5"):
        read_weights_file(str(path), {})
    elif path.suffix in (".safetensors", ".pth"):
        read_checkpoint(path)
    else:
        input_range = "pixels" if path.suffix == ".keras" else None
        network = read_network(path, input_range)
        shape = [PICTURES if size is None else size for size in network.input_shape]
        network.outputs(np.zeros(shape, np.float32))


def in_a_process(path: Path, log: Path, task: Callable[[Path], None] = open_file) -> str:
    """Opens a file in a fork of this process.

    Returns:
      What came of it: "opened", "refused", or a fault.
    """
    child = os.fork()
    if child == 0:
        _child(path, log, task)
    watch = os.pidfd_open(child)
    try:
        if not select.select([watch], [], [], SECONDS)[0]:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "more time than there is"
    finally:
        os.close(watch)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    codes = {0: _OPENED, 1: _REFUSED, 2: "another exception", 3: "more memory than there is"}
    return codes.get(os.WEXITSTATUS(status), "another end")


def _child(path: Path, log: Path, task: Callable[[Path], None]) -> None:
    """Does not return."""
    code = 2
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.chdir(path.parent)
        task(path)
        code = 0
    except _USER_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except MemoryError:
        code = 3
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def fuzz_round(seeds: list[Path], number: int, folder: Path) -> tuple[str, str, Path]:
    """Damages and opens one file.

    Returns:
      (its seed, what came of it, the damaged file).
    """
    rng = random.Random(number)
    seed = rng.choice(seeds)
    path = folder / str(number) / seed.name
    path.parent.mkdir()
    damage(seed, path, rng)
    return seed.name, in_a_process(path, path.parent / "log"), path.parent


def main() -> int:
    """Runs the command; 1 if a file was neither opened nor refused."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--first", type=int, default=0, help="round to begin with")
    parser.add_argument("--keep", default="runs/fuzz_files", help="folder for what fails")
    parser.add_argument("--kind", default="", help="only seeds with this in their names")
    parser.add_argument("--write_seeds", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write_seeds:
        write_seeds(Path(options.write_seeds))
        return 0
    counts, failed = collections.defaultdict(collections.Counter), 0
    with tempfile.TemporaryDirectory() as scratch:
        # Another process, since TensorFlow's threads, once begun, do not survive a fork.
        (folder := Path(scratch, "seeds")).mkdir()
        command = [sys.executable, "-m", "tests.fuzz_files", f"--write_seeds={folder}"]
        subprocess.run(command, check=True)
        seeds = sorted(path for path in folder.iterdir() if options.kind in path.name)
        _import_all()
        end, number = time.monotonic() + options.seconds, options.first
        while time.monotonic() < end:
            name, result, damaged_file = fuzz_round(seeds, number, Path(scratch))
            counts[name][result] += 1
            if result not in (_OPENED, _REFUSED):
                failed += 1
                Path(options.keep).mkdir(parents=True, exist_ok=True)
                kept = Path(options.keep, f"{number}-{result.replace(' ', '_')}")
                shutil.copytree(damaged_file, kept, dirs_exist_ok=True)
                print(f"{name}, round {number}: {result}; kept in {kept}", flush=True)
            shutil.rmtree(damaged_file)
            number += 1
    print(f"{number - options.first} files:")
    for name, found in sorted(counts.items()):
        print(f"  {name}: {', '.join(f'{count} {result}' for result, count in found.items())}")
    return 1 if failed else 0


def _import_all() -> None:
    """What a fork then has already."""
    import levit_tf.prediction.network_files
    import levit_tf.weights.checkpoint_files
    import levit_tf.weights.weights_file  # noqa: F401

    for name in ("ai_edge_litert.interpreter", "onnx", "onnxruntime", "torch", "safetensors.numpy"):
        with contextlib.suppress(ImportError):
            __import__(name)


if __name__ == "__main__":
    sys.exit(main())
