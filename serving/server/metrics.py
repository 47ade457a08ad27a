"""What the stand-in counts, under the names of TensorFlow Serving's Prometheus metrics."""

from __future__ import annotations

import re
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

_PREFIX = ":tensorflow:serving:"
# Microseconds, from 10 on each 1.8 times the last: about 20 minutes in the end.
_LATENCIES = tuple(10 * 1.8**n for n in range(33))
_EXITS = tuple(map(float, range(8)))
_EXAMPLES = tuple(float(2**n) for n in range(15))
# prometheus_client ends the name of a counter in _total, and says when it began; neither is in
# TensorFlow Serving's names.
_COUNTER_NAME = re.compile(rb"^((?:# (?:HELP|TYPE) )?:tensorflow:\S*?)_total(?=[ {])", re.MULTILINE)
_CREATED = re.compile(rb"^(?:# (?:HELP|TYPE) )?:tensorflow:\S*?_created[ {].*\n", re.MULTILINE)


class Metrics:
    """The counters of one server."""

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
            "Which step of a classifier in steps answered, counted from 0.",
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
            "The number of versions that are served.",
            ["model_name"],
            registry=registry,
        )

        self._refused = Counter(
            f"{_PREFIX}stand_in_refused_count",
            "The number of requests refused by a bound, which is a flag.",
            ["bound"],
            registry=registry,
        )
        self._under_way = Gauge(
            f"{_PREFIX}stand_in_under_way",
            "What the requests under way take together.",
            ["what"],
            registry=registry,
        )

        self._given_back = Counter(
            f"{_PREFIX}stand_in_given_back_bytes",
            "Memory that was handed back to the system after requests that needed much.",
            registry=registry,
        )

    def request(self, model: str, status: str) -> None:
        """Counts a request by the name of its status."""
        self._requests.labels(model, status).inc()

    def latency(self, model: str, api: str, entrypoint: str, seconds: float) -> None:
        """Records how long an answered request took."""
        self._request_latency.labels(model, api, entrypoint).observe(seconds * 1e6)

    def runtime(self, model: str, api: str, seconds: float) -> None:
        """Records how long an answered request was with TensorFlow, conversions included."""
        self._runtime_latency.labels(model, api, "TF1").observe(seconds * 1e6)

    def examples(self, model: str, count: int) -> None:
        """Records the number of examples of a request."""
        self._examples.labels(model).observe(count)

    def exits(self, model: str, steps: Iterable[int]) -> None:
        """Records which steps answered the pictures of a request."""
        for step in steps:
            self._exits.labels(model).observe(step)

    def load(self, model: str, version: int, status: str, seconds: float) -> None:
        """Records an attempt to load a version; its path stays inside the server."""
        path = f"{model}/{version}"
        self._load_attempts.labels(path, status).inc()
        if status == "OK":
            self._load_latency.labels(path).inc(seconds * 1e6)

    def available(self, model: str, versions: int) -> None:
        """Records the number of versions of a model that are served."""
        self._available.labels(model).set(versions)

    def refused(self, bound: str) -> None:
        """Counts a request that a bound refused, by the name of its flag."""
        self._refused.labels(bound).inc()

    def under_way(self, what: str, amount: int) -> None:
        """Records what requests take together: "bytes", "pixels"."""
        self._under_way.labels(what).set(amount)

    def given_back(self, size: int) -> None:
        """Counts bytes of memory that were handed back to the system."""
        self._given_back.inc(size)

    def exposition(self) -> tuple[bytes, str]:
        """The metrics as Prometheus reads them, and the content type."""
        text = _CREATED.sub(b"", generate_latest(self._registry))
        return _COUNTER_NAME.sub(rb"\1", text), CONTENT_TYPE_PLAIN_0_0_4
