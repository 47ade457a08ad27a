"""What a call of the client fails with."""

from __future__ import annotations


class RequestError(OSError):
    """A request was not answered, or not with what was asked for. Its text is one line.

    Attributes:
      code: the status by gRPC's name, over REST too: "INVALID_ARGUMENT", "UNAVAILABLE" and so on;
        "DEADLINE_EXCEEDED" also if the client's own time limit passed, "UNAVAILABLE" also if there
        was no connection, "INTERNAL" also if the answer made no sense.
      message: what the server said, or what came in the way.
      server: the address of the server, as given to the client.
      model: the name of the model.
      attempts: how often the request was sent.
    """

    def __init__(self, code: str, message: str, server: str, model: str, attempts: int = 1):
        self.code = code
        self.message = " ".join(message.split())
        self.server = server
        self.model = model
        self.attempts = attempts
        tries = f" ({attempts} attempts)" if attempts > 1 else ""
        super().__init__(f"{server}, model {model}: {code}: {self.message}{tries}")


class TransportError(Exception):
    """One attempt failed; transports raise it, and the client tries again or makes the above of it.

    Attributes:
      code: see `RequestError`.
      message: see `RequestError`.
      is_retryable: whether the same request may succeed in a moment. All requests of this client
        only ask, so that sending one twice does no harm.
      retry_after_s: the earliest time for that, seconds, where the server named one.
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
    """An answer that cannot be read, or lacks what was asked for."""
