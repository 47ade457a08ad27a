"""Batching parameters, with TensorFlow Serving's rules."""

from __future__ import annotations

import dataclasses

from serving.server import text_files
from serving.server.options import usable_processors


@dataclasses.dataclass(frozen=True)
class BatchingParameters:
    """The batching parameters; the defaults are TensorFlow Serving's."""

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = dataclasses.field(default_factory=usable_processors)
    allowed_batch_sizes: tuple[int, ...] = ()
    enable_large_batch_splitting: bool = False

    def attributes(self, queue: str) -> dict:
        """Returns the attributes of a BatchFunction with its own queue."""
        return {
            **dataclasses.asdict(self),
            "shared_name": "batch_scheduler",
            "batching_queue": queue,
        }


def read_batching_parameters(path: str) -> BatchingParameters:
    """Reads --batching_parameters_file.

    Raises:
      OSError: the file cannot be read.
      ValueError: the parameters are not valid; the message says why.
    """
    found = text_files.read_batching_parameters(path)
    if found.pad_variable_length_inputs:
        raise ValueError(
            f"{path}: pad_variable_length_inputs is not in this stand-in: let the signature bring "
            f"its inputs to one shape, or pad them before they are sent."
        )
    given = {
        field.name: getattr(found, field.name).value
        for field in dataclasses.fields(BatchingParameters)
        if field.name != "allowed_batch_sizes" and found.HasField(field.name)
    }
    sizes = tuple(found.allowed_batch_sizes)
    parameters = BatchingParameters(**given, allowed_batch_sizes=sizes)
    for name, least in (
        ("max_batch_size", 1),
        ("batch_timeout_micros", 0),
        ("max_enqueued_batches", 1),
        ("num_batch_threads", 1),
    ):
        if getattr(parameters, name) < least:
            raise ValueError(
                f"{path}: {name} must be at least {least}: {getattr(parameters, name)}"
            )
    if list(sizes) != sorted(set(sizes)) or min(sizes, default=1) < 1:
        raise ValueError(f"{path}: allowed_batch_sizes must increase from 1 or more: {sizes}")
    largest = parameters.max_batch_size
    if parameters.enable_large_batch_splitting and found.HasField("max_execution_batch_size"):
        largest = found.max_execution_batch_size.value
        if largest > parameters.max_batch_size:
            raise ValueError(
                f"{path}: max_execution_batch_size must not exceed max_batch_size, "
                f"{parameters.max_batch_size}: {largest}"
            )
        if not sizes:
            parameters = dataclasses.replace(parameters, allowed_batch_sizes=(largest,))
    if sizes and sizes[-1] != largest:
        raise ValueError(
            f"{path}: Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
            f"{sizes[-1]}; expected {largest}"
        )
    return parameters
