"""The error that the stand-in sends to clients."""

from __future__ import annotations

import grpc


class ServingError(Exception):
    """A request failed, with a status of TensorFlow Serving.

    Attributes:
      code: the gRPC status; REST maps it to an HTTP status.
      message: what was wrong, for the client, in TensorFlow Serving's words if it has any. Without
        stack traces and paths on the server.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> ServingError:
    """Makes the error for a request that the client has to correct: HTTP status 400."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
