"""Small SavedModels for the tests of the server: every kind of signature in one."""

from __future__ import annotations

import shutil
from pathlib import Path

import tensorflow as tf

SLEEP_SECONDS = 0.3
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


class Half(tf.Module):
    """y = x / 2 + offset, and signatures of all other kinds."""

    def __init__(self, offset: float):
        super().__init__()
        self.factor = tf.Variable(0.5, name="factor")
        self.offset = tf.Variable(float(offset), name="offset")

    def _y(self, x):
        return self.factor * x + self.offset

    def _parse(self, examples):
        features = {"x": tf.io.FixedLenFeature([1], tf.float32, default_value=[0.0])}
        return tf.io.parse_example(examples, features)["x"]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def vector(self, x):
        return {"y": self._y(x)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.float32, name="a"),
            tf.TensorSpec([None, 2], tf.float32, name="b"),
        ]
    )
    def pair(self, a, b):
        return {"sum": a + b, "product": a * b}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def strings(self, text):
        return {"twice_bytes": tf.strings.join([text, text]), "length": tf.strings.length(text)}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="x")])
    def ragged(self, x):
        return {"total": tf.reduce_sum(x, axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(self, inputs):
        scores = self._y(self._parse(inputs)) + tf.constant([[0.0, 1.0]])
        labels = tf.repeat(tf.constant([["low", "high"]]), tf.shape(scores)[0], axis=0)
        return {"classes": labels, "scores": scores}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress(self, inputs):
        return {"outputs": self._y(self._parse(inputs))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="numbers")])
    def numbers(self, numbers):
        return {"values": tf.strings.to_number(numbers)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def sleep(self, x):
        """A batch that is never full: its request waits for the timeout, using no processor."""

        @tf.nondifferentiable_batch_function(
            num_batch_threads=16,
            max_batch_size=10_000,
            batch_timeout_micros=int(SLEEP_SECONDS * 1e6),
            allowed_batch_sizes=[10_000],
        )
        def wait(x):
            return x

        return {"y": self._y(wait(x))}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], dtype, name=dtype.name)
            for dtype in (
                tf.bool,
                tf.int8,
                tf.int16,
                tf.int32,
                tf.int64,
                tf.uint8,
                tf.uint16,
                tf.uint32,
                tf.uint64,
                tf.float16,
                tf.bfloat16,
                tf.float32,
                tf.float64,
                tf.complex64,
                tf.complex128,
                tf.string,
            )
        ]
    )
    def echo(self, *tensors):
        return {f"{tensor.dtype.name}_out": tf.identity(tensor) for tensor in tensors}


def save_half(folder: Path, offset: float = 2.0) -> Path:
    """Writes a `Half` as a version folder; it appears complete, as an exporter's does.

    Returns:
      `folder`.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.tmp")
    model = Half(offset)
    tf.saved_model.save(
        model,
        str(temporary),
        signatures={
            "serving_default": model.vector,
            "pair": model.pair,
            "strings": model.strings,
            "ragged": model.ragged,
            "classify": model.classify,
            "regress": model.regress,
            "numbers": model.numbers,
            "sleep": model.sleep,
            "echo": model.echo,
        },
    )
    _set_methods(temporary, {"classify": CLASSIFY, "regress": REGRESS})
    temporary.rename(folder)
    return folder


def _set_methods(folder: Path, methods: dict[str, str]) -> None:
    """Sets the method names, which tf.saved_model.save writes as predict for all."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    file = folder / "saved_model.pb"
    saved = SavedModel.FromString(file.read_bytes())
    for name, method in methods.items():
        saved.meta_graphs[0].signature_def[name].method_name = method
    file.write_bytes(saved.SerializeToString())


def copy_version(source: Path, folder: Path) -> Path:
    """Publishes a copy of a version folder; it appears complete.

    Returns:
      `folder`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.copy")
    shutil.copytree(source, temporary)
    temporary.rename(folder)
    return folder
