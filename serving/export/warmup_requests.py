"""Warm-up: requests that TF Serving runs by itself before a version receives others.

The first request of each signature and batch size is slow: TensorFlow optimises the graph and
oneDNN reorders the weights. A record that fails prevents the version from being served, so all
records are executed before a version is published.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.example.example_pb2 import Example
from tensorflow_serving.apis import classification_pb2, predict_pb2, prediction_log_pb2

from converters.saved_model.writing import writing
from serving.export.signature_pictures import encode, sample_pixels
from serving.signatures import (
    BOXES,
    CLASSIFY,
    ENCODED_FEATURE,
    EXAMPLES,
    IMAGE_BYTES,
    IMAGE_TENSOR,
    IMAGES,
    OUTPUTS,
    SERVING_DEFAULT,
    THRESHOLDS,
    THRESHOLDS_SIGNATURE,
    WARMUP_RECORDS,
)
from serving.tensorflow_c.c_api import SavedModelSession

BATCH_SIZES = (1, 2, 4, 8, 16)

PredictionLog = prediction_log_pb2.PredictionLog


def bytes_request(name: str, pictures: Sequence[bytes]) -> predict_pb2.PredictRequest:
    """Makes a request with encoded pictures."""
    request = _request(name, SERVING_DEFAULT)
    request.inputs[IMAGE_BYTES].CopyFrom(tf.make_tensor_proto(list(pictures), tf.string))
    return request


def boxes_request(
    name: str, pictures: Sequence[bytes], boxes: Sequence[Sequence[float]]
) -> predict_pb2.PredictRequest:
    """A request of encoded pictures with a box in each."""
    request = bytes_request(name, pictures)
    request.model_spec.signature_name = BOXES
    request.inputs[BOXES].CopyFrom(tf.make_tensor_proto(boxes, tf.float32))
    return request


def grey_request(
    name: str, batch: int, size: tuple[int, int], outputs: Sequence[str] = ()
) -> predict_pb2.PredictRequest:
    """Makes a request with grey float pictures, a constant tensor that stores only one value."""
    request = _request(name, IMAGE_TENSOR)
    images = request.inputs[IMAGES]
    images.dtype = tf.float32.as_datatype_enum
    for side in (batch, *size, 3):
        images.tensor_shape.dim.add(size=side)
    images.float_val.append(128.0)
    request.output_filter.extend(outputs)
    return request


def classify_request(
    name: str, pictures: Sequence[bytes]
) -> classification_pb2.ClassificationRequest:
    """Makes a request with examples that contain encoded pictures."""
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = CLASSIFY
    for picture in pictures:
        example = request.input.example_list.examples.add()
        example.features.feature[ENCODED_FEATURE].bytes_list.value.append(picture)
    return request


def warmup_logs(
    name: str,
    size: tuple[int, int],
    paths: Sequence[np.ndarray] = (),
    has_classes: bool = True,
) -> list[PredictionLog]:
    """Makes records for all signatures and `BATCH_SIZES`.

    Args:
      name: name of the model.
      size: (height, width) of the network's input, pixels.
      has_classes: whether the model has the signature `classify`; otherwise it has `boxes`.
      paths: for a dynamic classifier, the thresholds that select each exit.
    """
    picture = encode(sample_pixels(), "JPEG")
    logs = []
    for batch in BATCH_SIZES:
        pictures = [picture] * batch
        of_bytes, of_pixels, of_examples, of_boxes = (PredictionLog() for _ in range(4))
        of_bytes.predict_log.request.CopyFrom(bytes_request(name, pictures))
        of_pixels.predict_log.request.CopyFrom(grey_request(name, batch, size))
        of_boxes.predict_log.request.CopyFrom(boxes_request(name, pictures, [[0, 0, 4, 4]] * batch))
        of_examples.classify_log.request.CopyFrom(classify_request(name, pictures))
        logs += [of_bytes, of_pixels, of_examples if has_classes else of_boxes]
        for thresholds in paths:
            request = grey_request(name, batch, size)
            request.model_spec.signature_name = THRESHOLDS_SIGNATURE
            request.inputs[THRESHOLDS].CopyFrom(tf.make_tensor_proto(thresholds, tf.float32))
            of_path = PredictionLog()
            of_path.predict_log.request.CopyFrom(request)
            logs.append(of_path)
    return logs


def tflite_logs(name: str, size: tuple[int, int], outputs: Sequence[str]) -> list[PredictionLog]:
    """Makes records that `model.tflite` can also run: one picture, no strings.

    Args:
      name: name of the model.
      size: (height, width) of the network's input, pixels.
      outputs: names of the file's outputs.
    """
    log = PredictionLog()
    log.predict_log.request.CopyFrom(grey_request(name, 1, size, outputs))
    return [log]


def write_warmup(version: str | os.PathLike, logs: Sequence[PredictionLog]) -> None:
    """Writes records to the place in a version where TF Serving looks for them.

    Raises:
      OSError: they cannot be written.
    """
    path = Path(version, WARMUP_RECORDS)
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path), tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())


def read_warmup(version: str | os.PathLike) -> Iterator[PredictionLog]:
    """Reads the records of a version."""
    for record in tf.data.TFRecordDataset(str(Path(version, WARMUP_RECORDS))):
        yield PredictionLog.FromString(record.numpy())


def execute(session: SavedModelSession, log: PredictionLog) -> dict[str, np.ndarray]:
    """Executes a record as TF Serving does.

    Returns:
      The outputs by name.

    Raises:
      TensorFlowError: the request fails.
      ValueError: the request does not match the signature.
    """
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        inputs, wanted = dict(request.inputs), tuple(request.output_filter)
    elif kind == "classify_log":
        request = log.classify_log.request
        examples: Sequence[Example] = request.input.example_list.examples
        inputs = {EXAMPLES: np.array([e.SerializeToString() for e in examples], object)}
        wanted = OUTPUTS[CLASSIFY]
    else:
        raise ValueError(f"A warm-up record must be of predict or classify. Found: {kind}")
    name = request.model_spec.signature_name or SERVING_DEFAULT
    signature = session.signature_defs.get(name)
    if signature is None or set(signature.inputs) != set(inputs):
        raise ValueError(f"A warm-up record for {name!r} with {sorted(inputs)} fits no signature.")
    wanted = wanted or tuple(signature.outputs)
    feeds = {signature.inputs[key].name: value for key, value in inputs.items()}
    values = session.run(feeds, [signature.outputs[key].name for key in wanted])
    return dict(zip(wanted, values, strict=True))


def _request(name: str, signature: str) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    return request
