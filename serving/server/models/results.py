"""Makes the results of Classify and Regress from computed tensors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.classification_pb2 import ClassificationResult
from tensorflow_serving.apis.regression_pb2 import RegressionResult

from serving.server.errors import invalid
from serving.server.models.servable import Signature


def fill_classifications(
    result: ClassificationResult,
    signature: Signature,
    arrays: Mapping[str, np.ndarray],
    count: int,
) -> None:
    """Writes labels and scores, or those of them that the signature has.

    Args:
      result: the result to write to.
      signature: the signature that was run.
      arrays: its outputs, by the names of the tensors.
      count: number of examples in the request.

    Raises:
      ServingError: the tensors are not a classification of `count` examples.
    """
    found = {}
    for alias, dtype in (("classes", tf.string), ("scores", tf.float32)):
        if alias not in signature.outputs:
            continue
        array = found[alias] = arrays[signature.outputs[alias]]
        if array.ndim != 2:
            raise invalid(
                f"Expected Tensor shape: [batch_size num_classes] but got {list(array.shape)}"
            )
        if tf.dtypes.as_dtype(array.dtype) != dtype:
            raise invalid(f"Expected {alias} Tensor of {_name(dtype)}. Got: {_name(array.dtype)}")
        if array.shape[0] != count:
            raise invalid(f"Expected {alias} output batch size of {count}. Got: {array.shape[0]}")
    widths = [array.shape[1] for array in found.values()]
    if len(set(widths)) > 1:
        raise invalid(
            f"Tensors class and score should match in dim_size(1). Got {widths[0]} vs. {widths[1]}"
        )
    labels, scores = (
        found[alias].tolist() if alias in found else None for alias in ("classes", "scores")
    )
    for n in range(count):
        classes = result.classifications.add().classes
        for m in range(widths[0]):
            one = classes.add()
            if labels is not None:
                one.label = labels[n][m].decode("utf-8", "replace")
            if scores is not None:
                one.score = scores[n][m]


def fill_regressions(
    result: RegressionResult,
    signature: Signature,
    arrays: Mapping[str, np.ndarray],
    count: int,
) -> None:
    """Writes one value per example; arguments and errors are those of `fill_classifications`."""
    array = arrays[signature.outputs["outputs"]]
    if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
        raise invalid(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{list(array.shape)}"
        )
    if array.shape[0] != count:
        raise invalid(
            f"Input batch size did not match output batch size: {count} vs. {array.shape[0]}"
        )
    if array.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_name(array.dtype)}")
    for value in array.ravel().tolist():
        result.regressions.add().value = value


def _name(dtype) -> str:
    from tensorflow.core.framework.types_pb2 import DataType

    return DataType.Name(tf.dtypes.as_dtype(dtype).as_datatype_enum)
