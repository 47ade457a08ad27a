"""Runs the warm-up records of a version, before it is served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from absl import logging
from google.protobuf.message import DecodeError
from grpc import StatusCode
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving.server.errors import ServingError
from serving.server.models import inference
from serving.server.models.servable import Servable

RECORDS = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000


def warm_up(servable: Servable, path: Path, rules: inference.Rules, iterations: int = 1) -> int:
    """Runs all records.

    Args:
      servable: the loaded version.
      path: folder of the version.
      rules: options of inference.
      iterations: number of times to run each record.

    Returns:
      The number of records.

    Raises:
      ServingError, TensorFlowError: a record fails or is invalid, or there are more than
        `MAX_RECORDS`.
    """
    file = path / RECORDS
    if not file.exists():
        logging.info("No warmup data file found at %s", file)
        return 0
    count = 0
    for count, record in enumerate(_records(file), 1):
        if count > MAX_RECORDS:
            raise ServingError(
                StatusCode.INVALID_ARGUMENT,
                f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {file}",
            )
        for _ in range(iterations):
            _run(servable, record, rules)
    logging.info("%d warm-up records of %s were run.", count, file)
    return count


def _records(file: Path) -> Iterator[PredictionLog]:
    try:
        for data in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            yield PredictionLog.FromString(data)
    except DecodeError as error:
        raise ServingError(
            StatusCode.INVALID_ARGUMENT, f"Failed to parse warmup record from {file}"
        ) from error
    except tf.errors.DataLossError as error:
        raise ServingError(
            StatusCode.DATA_LOSS,
            f"{error.message}. Please verify your warmup data is in TFRecord format.",
        ) from error


def _run(servable: Servable, record: PredictionLog, rules: inference.Rules) -> None:
    kind = record.WhichOneof("log_type")
    runs = {
        "predict_log": inference.predict,
        "classify_log": inference.classify,
        "regress_log": inference.regress,
        "multi_inference_log": inference.multi_inference,
    }
    if kind in runs:
        runs[kind](servable, getattr(record, kind).request, rules)
    elif kind is not None:
        raise ServingError(
            StatusCode.UNIMPLEMENTED,
            f"Unsupported log_type for warmup: {record.DESCRIPTOR.fields_by_name[kind].number}",
        )
