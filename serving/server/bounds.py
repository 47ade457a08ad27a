"""Limits for a single request, and for all requests together: strings, pixels, bytes.

Every limit is a flag of the same name; the metrics count the requests refused by each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from grpc import StatusCode

from serving import picture_sizes
from serving.server.budget import Budget
from serving.server.errors import ServingError
from serving.server.metrics import Metrics
from serving.server.options import Options

_LONGEST_WAIT_S = 30.0  # for requests without a deadline


class Bounds:
    """The limits of a server.

    Attributes:
      max_tensor_bytes: largest size of an input tensor in memory.
      bytes_under_way: budget for bytes of messages and their tensors, over gRPC and REST.
    """

    def __init__(self, options: Options, metrics: Metrics):
        self._options = options
        self._metrics = metrics
        self.max_tensor_bytes = options.max_request_bytes
        self.bytes_under_way = Budget(options.max_bytes_under_way)
        self._pixels = Budget(options.max_pixels_under_way)
        metrics.watch("bytes", self.bytes_under_way.taken)
        metrics.watch("pixels", self._pixels.taken)

    def refuse(
        self, bound: str, message: str, code: StatusCode = StatusCode.INVALID_ARGUMENT
    ) -> ServingError:
        """Counts a request refused by the limit `bound`, and returns the error to raise."""
        self._metrics.refused(bound)
        return ServingError(code, message)

    def check_count(self, what: str, count: int) -> None:
        """Refuses too many strings or examples; `what` names them in the message.

        Raises:
          ServingError: INVALID_ARGUMENT.
        """
        limit = self._options.max_strings_per_request
        if count > limit:
            raise self.refuse(
                "max_strings_per_request",
                f"{what}: at most {limit} strings or examples a request, got {count}.",
            )

    @contextlib.contextmanager
    def admitted(
        self, size: int, strings: Iterable[bytes], timeout_s: float | None = None
    ) -> Iterator[None]:
        """Runs the block when the other requests in progress leave enough memory and pixels.

        Args:
          size: size of the request's tensors, bytes.
          strings: its strings, some of which may be pictures.
          timeout_s: longest time to wait, seconds.

        Raises:
          ServingError: INVALID_ARGUMENT if it has too many pixels or scans; RESOURCE_EXHAUSTED if
            other requests leave too little.
        """
        pixels = self._checked_pixels(strings)
        wait = _LONGEST_WAIT_S if timeout_s is None else timeout_s
        with self.bytes_under_way.share() as memory, self._pixels.share() as decoded:
            if not memory.take(size):
                raise self.refuse_bytes()
            if pixels and not decoded.take(pixels, wait):
                raise self.refuse(
                    "max_pixels_under_way",
                    "The pictures of other requests take as many pixels as may be decoded at a "
                    "time; try again later.",
                    StatusCode.RESOURCE_EXHAUSTED,
                )
            yield

    def refuse_bytes(self) -> ServingError:
        """Makes the error for a request that does not fit into `bytes_under_way`."""
        return self.refuse(
            "max_bytes_under_way",
            "The requests under way take as much memory as they may together; try again later.",
            StatusCode.RESOURCE_EXHAUSTED,
        )

    def _checked_pixels(self, strings: Iterable[bytes]) -> int:
        limit, scans, total = self._options.max_pixels_per_request, self._options.max_jpeg_scans, 0
        for content in strings:
            total += picture_sizes.pixels(content)
            if total > limit:
                raise self.refuse(
                    "max_pixels_per_request",
                    f"The pictures of a request may have {limit} pixels together; these have more.",
                )
            if picture_sizes.jpeg_scans(content) > scans:
                raise self.refuse(
                    "max_jpeg_scans", f"A JPEG has more than the {scans} scans that are decoded."
                )
        return total
