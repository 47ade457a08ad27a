"""Converts exceptions to statuses that clients may see."""

from __future__ import annotations

import grpc
from absl import logging

from serving.server.errors import ServingError
from serving.tensorflow_c.c_api import TensorFlowError

_CODES = {code.value[0]: code for code in grpc.StatusCode}


def status_of(error: Exception) -> ServingError:
    """Returns the status for an exception; for unexpected ones, details are only logged."""
    if isinstance(error, ServingError):
        return error
    if isinstance(error, TensorFlowError):
        return ServingError(_CODES.get(error.code, grpc.StatusCode.UNKNOWN), error.message)
    logging.error("A request failed for a reason that is this server's.", exc_info=error)
    return ServingError(grpc.StatusCode.INTERNAL, "The server failed to answer; its log says why.")


def code_and_message(error: Exception) -> tuple[grpc.StatusCode, str]:
    """Returns the status for an exception, as `status_of` does, without an exception.

    A frame in the traceback of an exception that it holds would live on, with the request in it,
    until the garbage collector runs.
    """
    status = status_of(error)
    return status.code, status.message
