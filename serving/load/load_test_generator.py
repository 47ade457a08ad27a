"""Generates load: sends prepared requests at scheduled times, and records their results.

Open loop: times are scheduled in advance and do not wait for responses. A latency is measured from
the scheduled time, so that a stalled server is seen to delay all requests that come in the meantime
(no coordinated omission). Closed loop: a fixed number of requests is always in progress, which
finds the highest throughput.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from serving.client.client import is_rest
from serving.client.errors import TransportError
from serving.client.transports import AsyncGrpcTransport, AsyncRestTransport, Tls

OK = "OK"
ARRIVALS = ("poisson", "uniform")


@dataclass(frozen=True)
class Load:
    """The load to generate.

    Attributes:
      server: HOST:PORT for gRPC, http://HOST:PORT for REST.
      path: the gRPC method, or the path of the URL.
      bodies: the requests; one of them is chosen at random each time.
      rate: requests per second; None to send as many as the server can handle.
      duration_s: duration of the measurement, seconds.
      warmup_s: duration of the same load before it, seconds.
      arrivals: "poisson" (exponential gaps, as from independent users) or "uniform" gaps.
      offset_s: time of the first of uniform arrivals, seconds.
      concurrency: number of requests in progress if there is no rate.
      connections: number of gRPC channels; REST uses one connection per request in progress.
      timeout_s: time limit of a request from its scheduled time, seconds.
      seed: seed of the times and of the choice of bodies.
      tls: encryption, see `serving.client.Tls`.
      exits_in: reads from a response the exits used; None for models without exits.
    """

    server: str
    path: str
    bodies: Sequence[bytes]
    rate: float | None
    duration_s: float
    warmup_s: float = 1.0
    arrivals: str = "poisson"
    offset_s: float = 0.0
    concurrency: int = 16
    connections: int = 1
    timeout_s: float = 10.0
    seed: int = 0
    tls: Tls | None = None
    exits_in: Callable[[bytes], list[int]] | None = None


@dataclass(frozen=True)
class Samples:
    """The results of the requests; times are in seconds from the start.

    Attributes:
      intended: float64 (n,), scheduled time of each request.
      sent: float64 (n,), time when it was sent.
      done: float64 (n,), time of its response or failure.
      codes: n statuses as gRPC names them, "OK" for success.
      messages: from status to the first message with it.
      cpu_s: processor time of the generator, seconds.
      exits: from the index of an exit to the number of pictures that used it.
    """

    intended: np.ndarray
    sent: np.ndarray
    done: np.ndarray
    codes: np.ndarray
    messages: dict[str, str]
    cpu_s: float
    exits: dict[int, int] = field(default_factory=dict)


def generate(load: Load, processes: int = 1) -> Samples:
    """Generates the load and waits for the last response.

    Args:
      load: the load.
      processes: number of processes to divide the load among; 1 uses only this process.
    """
    parts = [_part(load, index, processes) for index in range(processes)]
    if processes == 1:
        return asyncio.run(_generate(parts[0]))
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(processes), context.Queue()
    workers = [context.Process(target=_work, args=(part, barrier, queue)) for part in parts]
    for worker in workers:
        worker.start()
    try:
        return _merged([_received(queue, workers) for _ in workers])
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def open_transport(load: Load) -> AsyncGrpcTransport | AsyncRestTransport:
    """Makes a connection to the load's server; its first request opens it.

    Raises:
      ValueError: the server's address is invalid, or a file for encryption cannot be read.
    """
    kind = AsyncRestTransport if is_rest(load.server) else AsyncGrpcTransport
    return kind(load.server.rstrip("/"), load.tls)


def arrival_times(load: Load) -> np.ndarray:
    """Returns the send times of an open loop, float64 seconds from the start, ascending."""
    length = load.warmup_s + load.duration_s
    if load.arrivals == "uniform":
        return np.arange(load.offset_s, length, 1 / load.rate)
    rng = np.random.default_rng(load.seed)
    # Given their number, the times of a Poisson process are independent and uniformly distributed.
    return np.sort(rng.uniform(0, length, rng.poisson(load.rate * length)))


def _part(load: Load, index: int, processes: int) -> Load:
    """Returns the share of one process."""
    share = replace(
        load,
        seed=load.seed + index,
        concurrency=len(range(index, load.concurrency, processes)),
        connections=max(1, len(range(index, load.connections, processes))),
    )
    if load.rate is None:
        return share
    return replace(share, rate=load.rate / processes, offset_s=index / load.rate)


def _work(load: Load, barrier: Any, queue: Any) -> None:
    queue.put(asyncio.run(_generate(load, barrier.wait)))


def _received(queue: Any, workers: Sequence[Any]) -> Samples:
    import queue as queues

    while True:
        try:
            return queue.get(timeout=1)
        except queues.Empty:
            failed = [worker.exitcode for worker in workers if worker.exitcode]
            if failed:
                raise OSError(f"a process of the generator failed, exit code {failed[0]}") from None


def _merged(parts: Sequence[Samples]) -> Samples:
    return Samples(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS),
        {code: text for part in parts for code, text in part.messages.items()},
        sum(part.cpu_s for part in parts),
        dict(sum((Counter(part.exits) for part in parts), Counter())),
    )


_ARRAYS = ("intended", "sent", "done", "codes")


async def _generate(load: Load, ready: Callable[[], object] = lambda: None) -> Samples:
    count = 1 if is_rest(load.server) else load.connections
    senders = [open_transport(load) for _ in range(count)]
    try:
        ready()
        gc.freeze()  # the garbage collector no longer scans what exists so far
        run = _Run(load, senders)
        await (run.open_loop() if load.rate else run.closed_loop())
        return run.samples()
    finally:
        gc.unfreeze()
        for sender in senders:
            await sender.close()


class _Run:
    """The requests of one process."""

    def __init__(self, load: Load, senders: Sequence[Any]):
        self._load = load
        self._senders = senders
        self._rows: list[tuple[float, float, float, str]] = []
        self._messages: dict[str, str] = {}
        self._exits: Counter[int] = Counter()
        self._choices = np.random.default_rng((load.seed, 1))
        self._cpu = time.process_time()
        self._start = time.monotonic()

    async def open_loop(self) -> None:
        times = arrival_times(self._load)
        bodies = self._choices.integers(len(self._load.bodies), size=len(times)).tolist()
        pending = set()
        for index, intended in enumerate(times.tolist()):
            # sleep(0) even when late: responses must be read, or they would seem late, too.
            await asyncio.sleep(max(0.0, self._start + intended - time.monotonic()))
            task = asyncio.create_task(self._send(index, bodies[index], intended))
            pending.add(task)
            task.add_done_callback(pending.discard)
        await asyncio.gather(*pending)

    async def closed_loop(self) -> None:
        length = self._load.warmup_s + self._load.duration_s

        async def user(number: int) -> None:
            index = number
            while (now := time.monotonic() - self._start) < length:
                body = int(self._choices.integers(len(self._load.bodies)))
                await self._send(index, body, now)
                index += self._load.concurrency

        await asyncio.gather(*(user(number) for number in range(self._load.concurrency)))

    async def _send(self, index: int, body: int, intended: float) -> None:
        load, start = self._load, self._start
        sent = time.monotonic() - start
        code = OK
        try:
            reply = await self._senders[index % len(self._senders)].send(
                load.path, load.bodies[body], max(1e-3, intended + load.timeout_s - sent)
            )
        except TransportError as error:
            code = error.code
            self._messages.setdefault(code, error.message)
        self._rows.append((intended, sent, time.monotonic() - start, code))
        if code == OK and load.exits_in is not None and intended >= load.warmup_s:
            self._exits.update(load.exits_in(reply))

    def samples(self) -> Samples:
        columns = list(zip(*self._rows, strict=True)) or [(), (), (), ()]
        intended, sent, done = (np.array(column, np.float64) for column in columns[:3])
        codes = np.array(columns[3], dtype="U32")
        cpu = time.process_time() - self._cpu
        return Samples(intended, sent, done, codes, self._messages, cpu, dict(self._exits))
