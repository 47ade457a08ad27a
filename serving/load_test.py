"""Puts load on TensorFlow Serving or the stand-in, and measures latency and throughput.

    python -m serving.load_test --server=localhost:8500 --images=FOLDER --rate=50 --duration=30
    python -m serving.load_test --server=http://localhost:8501 --images=FOLDER --rate=max \\
        --concurrency=16 --duration=30 --output=load

Requests are made of picture files beforehand. With a rate they are sent at times that do not depend
on the server, and latencies begin at these times; `--rate=max` keeps --concurrency requests under
way. Prints percentiles, throughput, errors by kind, and how well the generator kept to its times;
--output also keeps them as report.json, with a histogram.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from levit_common.picture_files import FORMATS, HEAD, format_of, printable, walk
from serving import signatures
from serving.client import grpc_codec, rest_codec
from serving.client.calls import Target
from serving.client.client import is_rest
from serving.client.errors import RequestError, TransportError
from serving.client.options import add_server_options, address, positive, seconds, tls
from serving.client.pictures import read_picture
from serving.load.load_test_generator import ARRIVALS, Load, generate, open_transport
from serving.load.load_test_report import make_report, to_text, write_report

SHOWN_SKIPPED = 20
MAX_RATE = "max"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
      arguments: what stands after the program's name; `sys.argv`'s by default.

    Returns:
      The exit status: 0; 1 if there was nothing to send, the server refuses the first request, or
      it answered none.

    Raises:
      SystemExit: the arguments make no sense (status 2), or ask for help.
    """
    options = _parser().parse_args(arguments)
    try:
        server = address(options)
        folder = None if options.output is None else _new_folder(options.output, options.overwrite)
        target = Target(options.model, options.version, options.label)
        path, bodies = make_requests(
            server,
            target,
            read_pictures(options.images, options.pictures, options.seed),
            batch=options.batch,
            signature_name=options.signature,
            input_name=options.input,
        )
        load = Load(
            server=server,
            path=path,
            bodies=bodies,
            rate=options.rate,
            duration_s=options.duration,
            warmup_s=options.warmup,
            arrivals=options.arrivals,
            concurrency=options.concurrency,
            connections=options.connections,
            timeout_s=options.timeout,
            seed=options.seed,
            tls=tls(options),
        )
        probe(load, options.model)
        report = make_report(load, generate(load, options.processes))
        print(to_text(report))
        if folder is not None:
            write_report(report, vars(options), folder)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0 if report.answered else 1


def read_pictures(folder: str | Path, count: int, seed: int) -> list[bytes]:
    """Contents of picture files, drawn if there are more than `count`.

    Args:
      folder: looked through with its subfolders, and what is found said; or one file.
      count: how many at most.
      seed: of the choice.

    Raises:
      ValueError: there are none, or one cannot be read or is empty.
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
        shown = ", ".join(map(printable, skipped[:SHOWN_SKIPPED]))
        more = f" and {len(skipped) - SHOWN_SKIPPED:,} more" * (len(skipped) > SHOWN_SKIPPED)
        print(f"skipped, as no readable {', '.join(FORMATS)}: {shown}{more}")
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
    """The requests that are sent, ready for the wire.

    Args:
      server: for gRPC or REST, see `serving.client.Client`.
      target: the model.
      pictures: contents of files.
      batch: how many go into each request.
      signature_name: the signature.
      input_name: its input, string (batch,).

    Returns:
      (the gRPC method or the path of the URL, as many messages as there are pictures).
    """
    count = len(pictures)
    groups = [[pictures[(start + k) % count] for k in range(batch)] for start in range(count)]
    names = {"signature_name": signature_name, "input_name": input_name}
    if is_rest(server):
        path = rest_codec.predict_path(target)
        return path, [rest_codec.picture_request(group, **names) for group in groups]
    bodies = [grpc_codec.picture_request(target, group, **names) for group in groups]
    return grpc_codec.PREDICT, bodies


def probe(load: Load, model: str) -> None:
    """Sends one request, so that what cannot work is told at once.

    Raises:
      RequestError: it was not answered.
    """

    async def send() -> None:
        transport = open_transport(load)
        try:
            await transport.send(load.path, load.bodies[0], load.timeout_s)
        finally:
            await transport.close()

    try:
        asyncio.run(send())
    except TransportError as error:
        raise RequestError(error.code, error.message, load.server, model) from error


def _new_folder(path: str, overwrite: bool) -> Path:
    if Path(path).exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; --overwrite replaces what is in it.")
    return Path(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.load_test",
        description="Measures TensorFlow Serving or the stand-in under load.",
    )
    add = parser.add_argument
    add_server_options(parser)
    add("--images", required=True, metavar="FOLDER", help="pictures to send, or one file")
    add("--rate", type=_rate, required=True, help="requests a second, or max")
    add("--duration", type=seconds, required=True, metavar="SECONDS", help="that are measured")
    add("--warmup", type=seconds, default=1.0, metavar="SECONDS", help="before (default: 1)")
    add("--arrivals", choices=ARRIVALS, default="poisson", help="(default: %(default)s)")
    add("--concurrency", type=positive, default=16, help="requests under way at --rate=max")
    add("--timeout", type=seconds, default=10.0, metavar="SECONDS", help="(default: 10)")
    add("--signature", default=signatures.SERVING_DEFAULT, help="(default: %(default)s)")
    add("--input", default=signatures.IMAGE_BYTES, help="takes the files (default: %(default)s)")
    add("--batch", type=positive, default=1, help="pictures in a request (default: 1)")
    add("--pictures", type=positive, default=256, help="read at most (default: %(default)s)")
    add("--connections", type=positive, default=1, help="gRPC channels (default: 1)")
    add("--processes", type=positive, default=1, help="of the generator (default: 1)")
    add("--seed", type=int, default=0, help="of times and choices (default: 0)")
    add("--output", metavar="FOLDER", help="for report.json and latencies.png")
    add("--overwrite", action="store_true", help="an existing FOLDER")
    return parser


def _rate(text: str) -> float | None:
    return None if text == MAX_RATE else seconds(text)


if __name__ == "__main__":
    sys.exit(main())
