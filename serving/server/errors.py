"""The one error that the stand-in answers a client with."""

from __future__ import annotations

import grpc


class ServingError(Exception):
    """A request fails, with a status of TensorFlow Serving.

    Attributes:
      code: the gRPC status; REST maps it to an HTTP status.
      message: for the client: what was wrong, in TensorFlow Serving's words where it has some. No
        stack traces, no paths of the server's.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> ServingError:
    """A request that the client has to put right: HTTP status 400."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
