"""The Beam pipeline: assigns files to shards, then classifies and writes shard by shard.

Results are not grouped after they are computed, since then nothing would be written before the last
of them. Instead, file names, which are small, are grouped first, so that existing shards are not
computed again.
"""

from __future__ import annotations

import logging
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
from apache_beam.io import fileio
from apache_beam.metrics import Metrics
from apache_beam.utils import shared

from levit_lite.images import ImageError, load_cropped
from serving.batch.handler import LiteRTModelHandler, described
from serving.batch.outputs import is_written, write_shard
from serving.batch.settings import Settings
from serving.batch.sources import pictures_of

NAMESPACE = "levit"
_BATCH = 32


def shard_of(path: str, settings: Settings) -> str:
    """Returns the shard of a file: for a picture by its name, for a file of records its own."""
    digest = zlib.crc32(path.encode("utf-8", "surrogateescape"))
    if settings.input_format == "pictures":
        return f"{digest % settings.shards:05}-of-{settings.shards:05}"
    stem = re.sub(r"[^\w.-]", "_", os.path.basename(path))
    return f"{stem}-{digest:08x}"


class ClassifyShard(beam.DoFn):
    """Classifies a shard, (name, files); yields its name and the counts of results and bad ones."""

    def __init__(self, handler: LiteRTModelHandler, settings: Settings, output: str):
        self._handler = handler
        self._settings = settings
        self._output = output
        self._shared = shared.Shared()
        self._count = {
            name: Metrics.counter(NAMESPACE, name)
            for name in ("pictures", "bad", "bytes", "shards", "shards_found")
        }

    def setup(self):
        # Loaded once per process, for any number of threads.
        self._network = self._shared.acquire(self._handler.load_model)

    def process(self, element: tuple[str, Iterable[str]]) -> Iterator[tuple[str, int, int]]:
        name, paths = element[0], sorted(element[1])
        if is_written(self._output, name, self._settings.output_format):
            self._count["shards_found"].inc()
            yield name, 0, 0
            return
        answers, bad = [], []
        for batch in _batches(pictures_of(paths, self._settings.input_format), _BATCH):
            self._classify(batch, answers, bad)
        write_shard(self._output, name, self._settings.output_format, answers, bad)
        self._count["shards"].inc()
        logging.info("shard %s: %d pictures, %d bad", name, len(answers), len(bad))
        yield name, len(answers), len(bad)

    def _classify(
        self, batch: Sequence[tuple[str, bytes | ImageError]], answers: list, bad: list
    ) -> None:
        names, images = [], []
        for name, content in batch:
            try:
                if isinstance(content, ImageError):
                    raise content
                self._count["bytes"].inc(len(content))
                images.append(load_cropped(content, self._network.input_shape[1:3]))
                names.append(name)
            except ImageError as error:
                bad.append({"name": name, "error": str(error).removeprefix("image bytes: ")})
                self._count["bad"].inc()
        if not images:
            return
        outputs = self._handler.run_inference(images, self._network)
        for name, found in zip(names, outputs, strict=True):
            answer = described(
                found, self._settings.labels, self._settings.top, self._settings.level
            )
            answers.append({"name": name, **answer})
        self._count["pictures"].inc(len(names))


def _batches(items: Iterable, size: int) -> Iterator[list]:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def build(
    pipeline: beam.Pipeline, handler: LiteRTModelHandler, settings: Settings, output: str
) -> beam.PCollection:
    """Adds all steps to a pipeline.

    Args:
      pipeline: an empty pipeline.
      handler: the classifier.
      settings: the settings of the output.
      output: the output folder.

    Returns:
      (name, number of results, number of bad pictures) for each shard.
    """
    return (
        pipeline
        | "Patterns" >> beam.Create(settings.input)
        | "Match" >> fileio.MatchAll(fileio.EmptyMatchTreatment.DISALLOW)
        | "Path" >> beam.Map(lambda found: found.path)
        | "Once" >> beam.Distinct()
        | "Shard" >> beam.Map(lambda path: (shard_of(path, settings), path))
        | "Group" >> beam.GroupByKey()
        | "Spread" >> beam.Reshuffle()
        | "Classify" >> beam.ParDo(ClassifyShard(handler, settings, output))
    )
