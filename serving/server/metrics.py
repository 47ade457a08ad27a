"""The metrics of the stand-in, with the names of TensorFlow Serving's Prometheus metrics."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

_PREFIX = ":tensorflow:serving:"
# Microseconds: from 10, each 1.8 times the previous one, up to about 20 minutes.
_LATENCIES = tuple(10 * 1.8**n for n in range(33))
_EXITS = tuple(map(float, range(8)))
_EXAMPLES = tuple(float(2**n) for n in range(15))
# prometheus_client adds _total to the name of a counter, and a line with its creation time;
# TensorFlow Serving has neither.
_COUNTER_NAME = re.compile(rb"^((?:# (?:HELP|TYPE) )?:tensorflow:\S*?)_total(?=[ {])", re.MULTILINE)
_CREATED = re.compile(rb"^(?:# (?:HELP|TYPE) )?:tensorflow:\S*?_created[ {].*\n", re.MULTILINE)


class Metrics:
    """The metrics of one server."""

    def __init__(self):
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            f"{_PREFIX}request_count",
            "The total number of requests.",
            ["model_name", "status"],
            registry=registry,
        )
        latencies = {"buckets": _LATENCIES, "registry": registry}
        self._request_latency = Histogram(
            f"{_PREFIX}request_latency",
            "Distribution of wall time (in microseconds) for Tensorflow Serving request.",
            ["model_name", "API", "entrypoint"],
            **latencies,
        )
        self._runtime_latency = Histogram(
            f"{_PREFIX}runtime_latency",
            "Distribution of wall time (in microseconds) for Tensorflow runtime.",
            ["model_name", "API", "runtime"],
            **latencies,
        )
        self._examples = Histogram(
            f"{_PREFIX}request_example_counts",
            "The number of tensorflow.Examples per request.",
            ["model"],
            buckets=_EXAMPLES,
            registry=registry,
        )
        self._exits = Histogram(
            f"{_PREFIX}stand_in_exit",
            "The exit used by a dynamic classifier, counted from 0.",
            ["model"],
            buckets=_EXITS,
            registry=registry,
        )
        self._load_attempts = Counter(
            ":tensorflow:cc:saved_model:load_attempt_count",
            "The number of times a SavedModel was requested to be loaded.",
            ["model_path", "status"],
            registry=registry,
        )
        self._load_latency = Counter(
            ":tensorflow:cc:saved_model:load_latency",
            "Latency in microseconds for SavedModels that were successfully loaded.",
            ["model_path"],
            registry=registry,
        )
        self._available = Gauge(
            f"{_PREFIX}stand_in_available_versions",
            "The number of served versions.",
            ["model_name"],
            registry=registry,
        )

        self._refused = Counter(
            f"{_PREFIX}stand_in_refused_count",
            "The number of requests refused by each limit, named by its flag.",
            ["bound"],
            registry=registry,
        )
        self._under_way = Gauge(
            f"{_PREFIX}stand_in_under_way",
            "Bytes or pixels held by all requests in progress.",
            ["what"],
            registry=registry,
        )

        self._given_back = Counter(
            f"{_PREFIX}stand_in_given_back_bytes",
            "Bytes of memory returned to the operating system when idle.",
            registry=registry,
        )

    def request(self, model: str, status: str) -> None:
        """Counts a request by the name of its status."""
        self._requests.labels(model, status).inc()

    def latency(self, model: str, api: str, entrypoint: str, seconds: float) -> None:
        """Records the latency of a successful request."""
        self._request_latency.labels(model, api, entrypoint).observe(seconds * 1e6)

    def runtime(self, model: str, api: str, seconds: float) -> None:
        """Records the time that a successful request spent in TensorFlow, including conversions."""
        self._runtime_latency.labels(model, api, "TF1").observe(seconds * 1e6)

    def examples(self, model: str, count: int) -> None:
        """Records the number of examples of a request."""
        self._examples.labels(model).observe(count)

    def exits(self, model: str, steps: Iterable[int]) -> None:
        """Records the exits used for the pictures of a request."""
        for step in steps:
            self._exits.labels(model).observe(step)

    def load(self, model: str, version: int, status: str, seconds: float) -> None:
        """Records an attempt to load a version, without its path on the server."""
        path = f"{model}/{version}"
        self._load_attempts.labels(path, status).inc()
        if status == "OK":
            self._load_latency.labels(path).inc(seconds * 1e6)

    def available(self, model: str, versions: int) -> None:
        """Records the number of served versions of a model."""
        self._available.labels(model).set(versions)

    def refused(self, bound: str) -> None:
        """Counts a request that a limit refused, by the name of its flag."""
        self._refused.labels(bound).inc()

    def watch(self, what: str, taken: Callable[[], int]) -> None:
        """Shows what requests in progress hold of "bytes" or "pixels": `taken`, at each reading."""
        self._under_way.labels(what).set_function(taken)

    def given_back(self, size: int) -> None:
        """Counts bytes of memory returned to the operating system."""
        self._given_back.inc(size)

    def exposition(self) -> tuple[bytes, str]:
        """Returns the metrics in Prometheus' text format, and the content type."""
        text = _CREATED.sub(b"", generate_latest(self._registry))
        return _COUNTER_NAME.sub(rb"\1", text), CONTENT_TYPE_PLAIN_0_0_4
