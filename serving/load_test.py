"""Generates load on TensorFlow Serving or the stand-in, and measures latency and throughput.

    python -m serving.load_test --server=localhost:8500 --images=FOLDER --rate=50 --duration=30
    python -m serving.load_test --server=http://localhost:8501 --images=FOLDER --rate=max \\
        --concurrency=16 --duration=30 --output=load

Requests are prepared from picture files. With a rate, they are sent at scheduled times that do not
depend on the server, and latencies are measured from these times; `--rate=max` keeps --concurrency
requests in progress. It prints percentiles, throughput, errors by kind, for a dynamic classifier
the number of pictures per exit, and how well the generator kept to its schedule. --output also
writes report.json and a histogram.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import math
import random
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from levit_common import cli
from levit_common.figures import make_figure
from levit_common.picture_files import FORMATS, HEAD, format_of, printable, walk
from levit_common.spelling import shortened
from serving import signatures
from serving.client import grpc_codec, rest_codec
from serving.client.calls import Target
from serving.client.client import is_rest
from serving.client.errors import RequestError, TransportError
from serving.client.options import (
    address,
    check_positive,
    check_server_flags,
    define_server_flags,
    tls,
)
from serving.client.pictures import read_picture
from serving.load.load_test_generator import ARRIVALS, Load, generate, open_transport
from serving.load.load_test_report import make_report, to_text, write_report

SHOWN_SKIPPED = 20
MAX_RATE = "max"


def main() -> int:
    args = flags.FLAGS
    server = address()
    folder = None if args.output is None else _new_folder(args.output, args.overwrite)
    if folder is not None:
        make_figure(1, 1)  # raises before the load is made, if pictures cannot be drawn
    path, bodies = make_requests(
        server,
        Target(args.model, args.version, args.label),
        read_pictures(args.images, args.pictures, args.seed),
        batch=args.batch,
        signature_name=args.signature,
        input_name=args.input,
    )
    load = Load(
        server=server,
        path=path,
        bodies=bodies,
        rate=_rate(args.rate),
        duration_s=args.duration,
        warmup_s=args.warmup,
        arrivals=args.arrivals,
        concurrency=args.concurrency,
        connections=args.connections,
        timeout_s=args.timeout,
        seed=args.seed,
        tls=tls(),
    )
    read = rest_codec.exits_in if is_rest(server) else grpc_codec.exits_in
    if read(probe(load, args.model)):
        load = dataclasses.replace(load, exits_in=read)
    report = make_report(load, generate(load, args.processes))
    print(to_text(report))
    if folder is not None:
        write_report(report, _settings(), folder)
    return 0 if report.answered else 1


def _settings() -> dict[str, object]:
    """Returns the flags of this command, for the report."""
    own = flags.FLAGS.get_key_flags_for_module(__name__)
    return {flag.name: flag.value for flag in own} | {"rate": _rate(flags.FLAGS.rate)}


def read_pictures(folder: str | Path, count: int, seed: int) -> list[bytes]:
    """Reads the contents of picture files, a random choice if there are more than `count`.

    Args:
      folder: a folder, which is searched with its subfolders and summarised; or a single file.
      count: largest number of pictures.
      seed: seed of the choice.

    Raises:
      ValueError: there are no pictures, or one cannot be read or is empty.
    """
    folder = Path(folder)
    if folder.is_file():
        return [read_picture(folder)]
    paths, skipped = [], []
    files, refused = walk(folder)
    for path in files:
        try:
            with open(path, "rb") as file:
                is_picture = format_of(file.read(HEAD)) in FORMATS
        except OSError:
            is_picture = False
        (paths if is_picture else skipped).append(path)
    skipped += [path for path, _ in refused]
    if not paths:
        raise ValueError(f"{folder}: expected pictures ({', '.join(FORMATS)}), found none")
    print(f"{len(paths):,} pictures in {printable(str(folder))}")
    if skipped:
        print(f"skipped, as no readable {', '.join(FORMATS)}: {shortened(skipped, SHOWN_SKIPPED)}")
    if len(paths) > count:
        paths = random.Random(seed).sample(paths, count)
    return [read_picture(path) for path in paths]


def make_requests(
    server: str,
    target: Target,
    pictures: Sequence[bytes],
    *,
    batch: int = 1,
    signature_name: str = signatures.SERVING_DEFAULT,
    input_name: str = signatures.IMAGE_BYTES,
) -> tuple[str, list[bytes]]:
    """Encodes the requests to send.

    Args:
      server: address for gRPC or REST, see `serving.client.Client`.
      target: the model to call.
      pictures: contents of picture files.
      batch: number of pictures per request.
      signature_name: name of the signature.
      input_name: name of its input, string (batch,).

    Returns:
      (the gRPC method or the path of the URL, as many messages as hold every picture once; the
      last one is filled up with the first pictures).
    """
    count = len(pictures)
    groups = [
        [pictures[(start + k) % count] for k in range(batch)] for start in range(0, count, batch)
    ]
    names = {"signature_name": signature_name, "input_name": input_name}
    if is_rest(server):
        path = rest_codec.predict_path(target)
        return path, [rest_codec.picture_request(group, **names) for group in groups]
    bodies = [grpc_codec.picture_request(target, group, **names) for group in groups]
    return grpc_codec.PREDICT, bodies


def probe(load: Load, model: str) -> bytes:
    """Sends one request, so that errors are reported at once.

    Returns:
      The response.

    Raises:
      RequestError: the request failed.
    """

    async def send() -> bytes:
        transport = open_transport(load)
        try:
            return await transport.send(load.path, load.bodies[0], load.timeout_s)
        finally:
            await transport.close()

    try:
        return asyncio.run(send())
    except TransportError as error:
        raise RequestError(error.code, error.message, load.server, model) from error


def _new_folder(path: str, overwrite: bool) -> Path:
    if Path(path).exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; --overwrite replaces what is in it.")
    return Path(path)


def define_flags() -> None:
    define_server_flags()
    number = functools.partial(flags.DEFINE_integer, lower_bound=1)
    flags.DEFINE_string("images", None, "Folder of pictures to send, or one file.")
    flags.DEFINE_string("rate", None, f"Requests per second, or {MAX_RATE}.")
    flags.DEFINE_float("duration", None, "Seconds to measure.")
    flags.DEFINE_float("warmup", 1.0, "Seconds of load before measuring.")
    flags.DEFINE_enum("arrivals", "poisson", ARRIVALS, "Gaps between requests, at a rate.")
    number("concurrency", 16, f"Requests in progress with --rate={MAX_RATE}.")
    flags.DEFINE_float("timeout", 10.0, "Time limit of a request, seconds.")
    flags.DEFINE_string("signature", signatures.SERVING_DEFAULT, "Signature of the model.")
    flags.DEFINE_string("input", signatures.IMAGE_BYTES, "Signature's input for files.")
    number("batch", 1, "Pictures per request.")
    number("pictures", 256, "Largest number of pictures to read.")
    number("connections", 1, "Number of gRPC channels.")
    number("processes", 1, "Processes of the generator.")
    flags.DEFINE_integer("seed", 0, "Seed of times and choices.")
    flags.DEFINE_string("output", None, "Folder for report.json and latencies.png.")
    flags.DEFINE_bool("overwrite", False, "Replace what is in an existing folder.")
    flags.mark_flags_as_required(["images", "rate", "duration"])


def _rate(text: str) -> float | None:
    if text == MAX_RATE:
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise ValueError(f"--rate: expected a positive number or {MAX_RATE}. Received: {text!r}")
    return rate


def check() -> None:
    check_server_flags()
    check_positive("duration", "warmup", "timeout")
    _rate(flags.FLAGS.rate)


COMMAND = cli.Command(main, define_flags, check, starts_keras=False)

if __name__ == "__main__":
    COMMAND.run()
