"""The stand-in under load, beside an in-process loop that does the same work, as Markdown tables.

    python -m benchmarks.serve.load --images=FOLDER --variant=LeViT128S

The loop decodes and classifies the pictures one by one in --threads threads through TensorFlow's C
API, as the server does, without a server; its throughput is what could be reached. It and the
servers, with and without batching and over REST, take turns of some seconds; medians over the
turns. Then each server gets requests at half of its own highest rate, at times that do not wait for
answers, and latencies are counted from these. The load's generator runs on the same cores. "CPU" is
processor time for one picture, which unlike throughput does not depend on what else the machine
does. Random weights; time does not depend on them. Takes six minutes.
"""

from __future__ import annotations

import contextlib
import itertools
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

from benchmarks.support import options, results
from benchmarks.support.pictures import draw_bars
from benchmarks.support.serving_process import MODEL, Running, export_model, server
from levit_common import cli
from serving import signatures
from serving.client.calls import Target
from serving.load.load_test_generator import Load, generate
from serving.load.load_test_report import Report, make_report
from serving.load_test import make_requests, read_pictures

LOOP = "loop"
_READY = "ready"
SIDES = (LOOP, "grpc", "grpc_batching", "rest", "rest_batching")


class Turn(NamedTuple):
    """Results of one turn.

    Attributes:
      throughput: pictures a second.
      cpu_ms: processor time for a picture, of the loop or the server.
      generator_ms: of the generator.
    """

    throughput: float
    cpu_ms: float
    generator_ms: float = 0.0


def make_loop(version: str, pictures: Sequence[bytes], threads: int) -> Callable[[], Turn]:
    """The loop: a function that runs it for --seconds."""
    from tensorflow.core.protobuf.config_pb2 import ConfigProto

    from serving.tensorflow_c.c_api import SavedModelSession

    config = ConfigProto(
        intra_op_parallelism_threads=flags.FLAGS.intra_op_threads,
        inter_op_parallelism_threads=threads,
    )
    session = SavedModelSession(version, config=config)
    signature = session.signature_defs[signatures.SERVING_DEFAULT]
    feed = signature.inputs[signatures.IMAGE_BYTES].name
    fetches = [tensor.name for tensor in signature.outputs.values()]

    def run() -> Turn:
        order = itertools.count()
        counts = [0] * threads
        cpu, start = time.process_time(), time.monotonic()
        end = start + flags.FLAGS.seconds

        def work(index: int) -> None:
            while time.monotonic() < end:
                picture = pictures[next(order) % len(pictures)]
                session.run({feed: np.array([picture], object)}, fetches)
                counts[index] += 1

        workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        cpu, elapsed = time.process_time() - cpu, time.monotonic() - start
        return Turn(sum(counts) / elapsed, 1e3 * cpu / sum(counts))

    return run


def work(version: str, pictures: Sequence[bytes]) -> None:
    """The loop's process: for every line that comes in, a turn; its numbers go out."""
    run = make_loop(version, pictures, flags.FLAGS.threads)
    print(_READY, flush=True)
    for _ in sys.stdin:
        print(*run(), flush=True)


@contextlib.contextmanager
def loop_process(version: Path) -> Iterator[Callable[[], Turn]]:
    """The loop in a process of its own: threads that Keras has started would compute with it.

    Raises:
      OSError: the process has failed.
    """
    args = flags.FLAGS
    command = [sys.executable, "-m", "benchmarks.serve.load", f"--worker={version}"]
    command += [f"--images={args.images}", f"--pictures={args.pictures}"]
    command += [f"--threads={args.threads}", f"--intra_op_threads={args.intra_op_threads}"]
    command += [f"--seconds={args.seconds}"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:

        def answer() -> str:
            line = process.stdout.readline()
            if not line:
                raise OSError(f"the loop's process failed, exit code {process.wait()}; see above")
            return line

        def run() -> Turn:
            process.stdin.write("run\n")
            process.stdin.flush()
            return Turn(*(float(value) for value in answer().split()))

        if answer().strip() != _READY:
            raise OSError("the loop's process said something else than that it is ready")
        yield run
        process.stdin.close()


def make_load(side: str, running: Running, pictures: Sequence[bytes]) -> Load:
    """Returns a load with enough concurrent requests to keep the server busy."""
    args = flags.FLAGS
    address = running.rest if side.startswith("rest") else running.grpc
    path, bodies = make_requests(address, Target(MODEL), pictures)
    is_batching = side.endswith("batching")
    return Load(
        server=address,
        path=path,
        bodies=bodies,
        rate=None,
        duration_s=args.seconds,
        concurrency=args.batching_concurrency if is_batching else args.concurrency,
        timeout_s=60.0,
    )


def measure(load: Load, running: Running) -> tuple[Report, Turn]:
    """One turn.

    Raises:
      ValueError: a request failed.
    """
    cpu = running.cpu_s()
    samples = generate(load)
    cpu = running.cpu_s() - cpu
    report = make_report(load, samples)
    if report.errors:
        raise ValueError(f"{load.server}: {report.errors} {report.messages}")
    return report, Turn(report.throughput, 1e3 * cpu / len(samples.codes), report.cpu_ms)


def saturated(sides: dict[str, Callable[[], Turn]]) -> dict[str, float]:
    """Publishes the highest throughputs. Returns their medians."""
    found: dict[str, list[Turn]] = {side: [] for side in sides}
    for run in sides.values():
        run()  # not counted: caches, allocators and connections are cold
    for _ in range(flags.FLAGS.turns):
        for side, run in sides.items():
            found[side].append(run())
    medians = {side: median(turns, "throughput") for side, turns in found.items()}
    rows = []
    for side, turns in found.items():
        values = [turn.throughput for turn in turns]
        # Of the same turn: what else the machine does comes and goes.
        share = None
        if LOOP in found:
            pairs = zip(turns, found[LOOP], strict=True)
            shares = [turn.throughput / loop.throughput for turn, loop in pairs]
            share = 100 * statistics.median(shares)
        cpu = (median(turns, "cpu_ms"), median(turns, "generator_ms"))
        rows.append((side, medians[side], min(values), max(values), share, *cpu))
    columns = ("side", "images/s", "lowest", "highest", "share of loop, %", "CPU, ms")
    columns += ("generator, ms",)
    output = results.publish("load_throughput", columns, rows, flags.FLAGS.output)
    draw_bars(output / "load_throughput.png", medians, "images/s")
    return medians


def median(turns: Sequence[Turn], name: str) -> float:
    """The median of one of the turns' numbers."""
    return statistics.median(getattr(turn, name) for turn in turns)


def at_half_rate(loads: dict[str, tuple[Load, Running]], highest: dict[str, float]) -> None:
    """Publishes latencies at half of each server's highest rate."""
    args = flags.FLAGS
    rows = []
    for side, (load, running) in loads.items():
        rate = args.load * highest[side]
        load = replace(load, rate=rate, duration_s=args.latency_seconds)
        report, turn = measure(load, running)
        p50, p90, p99, p999 = (report.latency_ms[name] for name in ("p50", "p90", "p99", "p99.9"))
        late = report.late_ms["p99"]
        latencies = (p50, p90, p99, p999, p99 / p50, late)
        rows.append((side, rate, *latencies, turn.cpu_ms, turn.generator_ms))
    columns = ("side", "rate", "p50, ms", "p90", "p99", "p99.9", "p99/p50", "late, p99", "CPU")
    print()
    results.publish("load_latency", (*columns, "generator"), rows, args.output)


def main() -> None:
    args = flags.FLAGS
    # What it prints is not for the process that reads the loop's answers.
    with contextlib.redirect_stdout(sys.stderr):
        pictures = read_pictures(args.images, args.pictures, seed=0)
    if args.worker:
        work(args.worker, pictures)
        return
    with contextlib.ExitStack() as stack:
        repository = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        version = export_model(args.variant, repository)
        sides, loads, servers = {}, {}, {}
        for side in args.sides:
            if side == LOOP:
                sides[side] = stack.enter_context(loop_process(version))
                continue
            arguments = [f"--tensorflow_intra_op_parallelism={args.intra_op_threads}"]
            arguments += [f"--tensorflow_inter_op_parallelism={args.threads}"]
            if side.endswith("batching"):
                file = repository / "batching.config"
                arguments += ["--enable_batching", f"--batching_parameters_file={file}"]
            else:
                arguments += [f"--grpc_max_threads={args.threads}"]
                arguments += [f"--rest_api_num_threads={args.threads}"]
            key = tuple(arguments)
            if key not in servers:
                servers[key] = stack.enter_context(server(repository, *arguments))
            loads[side] = make_load(side, servers[key], pictures), servers[key]
            sides[side] = lambda load=loads[side]: measure(*load)[1]
        print(f"{args.variant}, {args.threads} threads, {len(pictures)} pictures\n", flush=True)
        highest = saturated(sides)
        at_half_rate(loads, highest)


def define_flags() -> None:
    flags.DEFINE_string("images", None, "Folder of pictures.", required=True)
    flags.DEFINE_string("variant", "LeViT128S", "Variant to measure.")
    flags.DEFINE_integer("threads", 2, "Pictures at a time, of every side.", lower_bound=1)
    flags.DEFINE_integer("intra_op_threads", 1, "Threads of an operation.", lower_bound=0)
    flags.DEFINE_integer("turns", 7, "Turns of each side.", lower_bound=1)
    flags.DEFINE_float("seconds", 4.0, "Seconds of a turn.", lower_bound=0.1)
    flags.DEFINE_float("latency_seconds", 30.0, "Seconds of measuring latency.", lower_bound=1.0)
    flags.DEFINE_float("load", 0.5, "Part of the highest rate that latency is measured at.")
    flags.DEFINE_integer("concurrency", 6, "Requests under way.", lower_bound=1)
    flags.DEFINE_integer("batching_concurrency", 48, "The same with batching.", lower_bound=1)
    flags.DEFINE_integer("pictures", 256, "Pictures that are read at most.", lower_bound=1)
    options.define_internal("worker")
    options.define_output()
    options.define_some_of("sides", SIDES)


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
