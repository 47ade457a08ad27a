"""Serialises the tf.Examples of a request, as strings for a signature to parse."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from grpc import StatusCode
from tensorflow_serving.apis.input_pb2 import Input

from serving.server.bounds import Bounds
from serving.server.errors import ServingError


def serialized_examples(source: Input, bounds: Bounds) -> np.ndarray:
    """Serialises the examples of Classify, Regress and MultiInference.

    A context is prepended to each example, which is how protobuf merges the two.

    Returns:
      An object array (examples,) of bytes.

    Raises:
      ServingError: there are no examples, or the examples or the context exceed `bounds`.
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
    bounds.check_count("input", len(examples))
    if len(context) * len(examples) > bounds.max_tensor_bytes:
        raise bounds.refuse(
            "max_request_bytes",
            f"A context of {len(context)} bytes before each of {len(examples)} examples is more "
            f"than {bounds.max_tensor_bytes} bytes.",
        )
    result = np.empty(len(examples), object)
    for n, example in enumerate(examples):
        result[n] = context + example.SerializeToString()
    return result


def bytes_of(examples: np.ndarray) -> int:
    """Returns the total size of serialised examples in bytes."""
    return sum(map(len, examples))


def strings_of_input(source: Input) -> Iterator[bytes]:
    """Yields all strings in the features of examples; those of a context once per example."""
    with_context = source.example_list_with_context
    examples = (*source.example_list.examples, *with_context.examples)
    for example in (*examples, *[with_context.context] * len(with_context.examples)):
        for feature in example.features.feature.values():
            yield from feature.bytes_list.value
