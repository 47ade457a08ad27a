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
from serving.batch.handler import LiteRTModelHandler, columns_of, described
from serving.batch.outputs import counts_of, write_shard
from serving.batch.settings import Settings
from serving.batch.sources import pictures_of

NAMESPACE = "levit"
COUNTERS = ("pictures", "bad", "bytes", "shards", "shards_found")
UNCOUNTED = "shards_uncounted"  # those of an earlier version, whose pictures are not counted
_BATCH = 32
_LOGGER = logging.getLogger(__name__)


def shard_of(path: bytes, settings: Settings) -> str:
    """Returns the shard of a file: for a picture by its name, for a file of records its own."""
    digest = zlib.crc32(path)
    if settings.input_format == "pictures":
        return f"{digest % settings.shards:05}-of-{settings.shards:05}"
    stem = re.sub(r"[^\w.-]", "_", os.path.basename(os.fsdecode(path)))
    return f"{stem}-{digest:08x}"


class ClassifyShard(beam.DoFn):
    """Classifies a shard, (name, files); yields its name and the counts of results and bad ones."""

    def __init__(self, handler: LiteRTModelHandler, settings: Settings, output: str):
        self._handler = handler
        self._settings = settings
        self._output = output
        self._shared = shared.Shared()
        self._count = {name: Metrics.counter(NAMESPACE, name) for name in (*COUNTERS, UNCOUNTED)}

    def setup(self):
        # Loaded once per process, for any number of threads.
        self._network = self._shared.acquire(self._handler.load_model)

    def process(self, element: tuple[str, Iterable[bytes]]) -> Iterator[tuple[str, int, int]]:
        name, paths = element[0], sorted(map(os.fsdecode, element[1]))
        counts = counts_of(self._output, name, self._settings.output_format)
        if counts is None:
            counts = self._make(name, paths)
            _LOGGER.info("shard %s: %d pictures, %d bad", name, counts["pictures"], counts["bad"])
        else:
            self._count["shards_found"].inc()
            if not counts:
                self._count[UNCOUNTED].inc()
        self._count["shards"].inc()
        for key, count in counts.items():
            self._count[key].inc(count)
        yield name, counts.get("pictures", 0), counts.get("bad", 0)

    def _make(self, name: str, paths: Sequence[str]) -> dict[str, int]:
        """Classifies and writes a shard; returns its counts."""
        settings, answers, bad, size = self._settings, [], [], 0
        for batch in _batches(pictures_of(paths, settings.input_format), _BATCH):
            size += self._classify(batch, answers, bad)
        counts = {"pictures": len(answers), "bad": len(bad), "bytes": size}
        columns = columns_of(self._network, settings.labels, settings.level)
        write_shard(self._output, name, settings.output_format, columns, answers, bad, counts)
        return counts

    def _classify(
        self, batch: Sequence[tuple[str, bytes | ImageError]], answers: list, bad: list
    ) -> int:
        """Adds to the answers and the unreadable pictures; returns the number of bytes read."""
        names, images, size = [], [], 0
        for name, content in batch:
            try:
                if isinstance(content, ImageError):
                    raise content
                size += len(content)
                images.append(load_cropped(content, self._network.input_shape[1:3]))
                names.append(name)
            except ImageError as error:
                bad.append({"name": name, "error": str(error).removeprefix("image bytes: ")})
        if not images:
            return size
        outputs = self._handler.run_inference(images, self._network)
        for name, found in zip(names, outputs, strict=True):
            answer = described(
                found, self._settings.labels, self._settings.top, self._settings.level
            )
            answers.append({"name": name, **answer})
        return size


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
        # Bytes, since Beam's texts are UTF-8, which names of files need not be.
        | "Path" >> beam.Map(lambda found: os.fsencode(found.path))
        | "Once" >> beam.Distinct()
        | "Shard" >> beam.Map(lambda path: (shard_of(path, settings), path))
        | "Group" >> beam.GroupByKey()
        | "Spread" >> beam.Reshuffle()
        | "Classify" >> beam.ParDo(ClassifyShard(handler, settings, output))
    )
