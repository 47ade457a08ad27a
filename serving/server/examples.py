"""The tf.Examples of a request, as the strings that a signature parses."""

from __future__ import annotations

import numpy as np
from grpc import StatusCode
from tensorflow_serving.apis.input_pb2 import Input

from serving.server.errors import ServingError


def serialized_examples(source: Input) -> np.ndarray:
    """Serializes the examples of Classify, Regress and MultiInference.

    A context is put before each example, which is how protobuf merges the two.

    Returns:
      object array (examples,) of bytes.

    Raises:
      ServingError: there are none.
    """
    kind = source.WhichOneof("kind")
    examples, context = [], b""
    if kind == "example_list":
        examples = source.example_list.examples
    elif kind == "example_list_with_context":
        examples = source.example_list_with_context.examples
        context = source.example_list_with_context.context.SerializeToString()
    if not examples:
        raise ServingError(StatusCode.INVALID_ARGUMENT, "Input is empty.")
    result = np.empty(len(examples), object)
    for n, example in enumerate(examples):
        result[n] = context + example.SerializeToString()
    return result
