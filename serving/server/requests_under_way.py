"""The gRPC requests in progress: limits the time they take to arrive, and drains them at the end.

A request has a thread from its first bytes. Without a limit, clients that announce requests and
never send them could occupy all threads.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

import grpc
from google.protobuf.message import DecodeError

from serving.server.bounds import Bounds

_LOOKS_PER_TIMEOUT = 4
# gRPC cancels, rather than refuses, requests that arrive in the moment when it shuts down. Clients
# that are told in good time do not send any then.
_NOTICE_S = 0.2


class RequestsUnderWay(grpc.ServerInterceptor):
    """Watches every request from its first bytes to its response."""

    def __init__(self, receive_seconds: float, bounds: Bounds):
        """Makes the interceptor; it begins to watch with `start`.

        Args:
          receive_seconds: time limit from the first to the last bytes of a request.
          bounds: the limits, including that for the bytes of all messages.
        """
        self._receive_seconds = receive_seconds
        self._bounds = bounds
        self._arriving: dict[int, tuple[float, grpc.ServicerContext]] = {}
        self._numbers = itertools.count()
        self._under_way = 0
        self._draining = False
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="slow clients", daemon=True)

    def start(self) -> None:
        """Begins to cancel requests that do not arrive in time."""
        self._thread.start()

    def drain(self, seconds: float) -> None:
        """Refuses new requests, and returns when the accepted ones are finished.

        Args:
          seconds: longest time to wait.
        """
        with self._changed:
            self._draining = True
        time.sleep(_NOTICE_S)
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way, seconds)
        self._stopped.set()
        self._thread.join()

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """Makes a method read its message by itself, so that this can be watched.

        For a unary method, gRPC would read the message before the method is called, without a
        limit. On the wire, a stream of one message is the same.
        """
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        answer, deserialize = handler.unary_unary, handler.request_deserializer

        def read_and_answer(messages, context):
            with self._changed:
                draining = self._draining
                self._under_way += not draining
            if draining:
                context.abort(grpc.StatusCode.UNAVAILABLE, "The server is shutting down.")
            try:
                with self._bounds.bytes_under_way.share() as share:
                    message = self._read(messages, context)
                    if not share.take(len(message)):
                        refusal = self._bounds.refuse_bytes()
                        context.abort(refusal.code, refusal.message)
                    return answer(self._parsed(message, deserialize, context), context)
            finally:
                with self._changed:
                    self._under_way -= 1
                    if self._draining:
                        self._changed.notify_all()

        # As bytes, so that their number is known before they are parsed.
        return grpc.stream_unary_rpc_method_handler(
            read_and_answer, None, handler.response_serializer
        )

    @staticmethod
    def _parsed(message: bytes, deserialize, context):
        try:
            return deserialize(message)
        except DecodeError:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "The request cannot be parsed.")

    def _read(self, messages, context):
        number = next(self._numbers)
        self._arriving[number] = (time.monotonic() + self._receive_seconds, context)
        try:
            message = next(messages, None)
        finally:
            del self._arriving[number]
        if message is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "The request has no message.")
        return message

    def _watch(self) -> None:
        while not self._stopped.wait(self._receive_seconds / _LOOKS_PER_TIMEOUT):
            now = time.monotonic()
            for until, context in list(self._arriving.values()):
                if until < now:
                    context.cancel()
