"""The errors that calls of the client raise."""

from __future__ import annotations


class RequestError(OSError):
    """A request failed, or its response was not what was asked for. The text is a single line.

    Attributes:
      code: the status as gRPC names it, also over REST: "INVALID_ARGUMENT", "UNAVAILABLE" and so
        on. It is also "DEADLINE_EXCEEDED" if the client's own time limit passed, "UNAVAILABLE" if
        there was no connection, and "INTERNAL" if the response was invalid.
      message: the server's message, or a description of the failure.
      server: address of the server, as given to the client.
      model: name of the model.
      attempts: number of times the request was sent.
    """

    def __init__(self, code: str, message: str, server: str, model: str, attempts: int = 1):
        self.code = code
        # TensorFlow adds where in its graph an operation failed, from " [[" on.
        self.message = " ".join(message.partition("[[{{")[0].split())
        self.server = server
        self.model = model
        self.attempts = attempts
        tries = f" ({attempts} attempts)" if attempts > 1 else ""
        super().__init__(f"{server}, model {model}: {code}: {self.message}{tries}")


class TransportError(Exception):
    """One attempt failed. Transports raise it; the client repeats it or raises a `RequestError`.

    Attributes:
      code: see `RequestError`.
      message: see `RequestError`.
      is_retryable: whether the same request may succeed soon. No request of this client changes
        anything on the server, so repeating one is harmless.
      retry_after_s: earliest time for the next attempt, in seconds, if the server gave one.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        is_retryable: bool = False,
        retry_after_s: float = 0.0,
    ):
        super().__init__(message)
        self.code = code
        self.message = message
        self.is_retryable = is_retryable
        self.retry_after_s = retry_after_s


class ReplyError(ValueError):
    """A response cannot be read, or lacks what was asked for."""
