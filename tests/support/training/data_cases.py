"""Small data sets on disk for tests: prepared ones of TensorFlow Datasets, and image folders."""

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

CLASSES = ("ant", "bee", "cat")


def picture(seed, size=(40, 52), mode="RGB"):
    """A smooth random picture, so that a JPEG of it is near to it."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC).convert(mode)


def encoded(image, format="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def huge_png():
    """A file of a few bytes whose header declares 60,000x60,000 pixels."""

    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def broken_png(seed):
    """A file that is complete, and damaged in its middle: only decoding finds it."""
    content = bytearray(encoded(picture(seed), "PNG"))
    content[len(content) // 2] ^= 0xFF
    return bytes(content)


def write_folder(root, per_class, parts=("",)):
    """`root`/part/class/00.jpg and so on; every picture is another one."""
    seed = 0
    for part in parts:
        for name in CLASSES:
            folder = Path(root, part, name)
            folder.mkdir(parents=True)
            for n in range(per_class):
                picture(seed).save(folder / f"{n:02}.jpg", quality=95)
                seed += 1
    return Path(root)


class TinyPictures(tfds.core.GeneratorBasedBuilder):
    """Grey squares that tell their number, `10 * label + n`, by their brightness."""

    # A module in a package would have to have the files of one of TensorFlow Datasets.
    __module__ = "tiny_pictures"
    VERSION = tfds.core.Version("1.0.0")
    EXAMPLES = {"train": 24, "test": 9, "unlabelled": 3}  # noqa: RUF012 (never changed)

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(32, 32, 3)),
                    "label": tfds.features.ClassLabel(names=CLASSES),
                    "name": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, manager):
        return {split: self._generate_examples(split) for split in self.EXAMPLES}

    def _generate_examples(self, split):
        for n in range(self.EXAMPLES[split]):
            image = np.full((32, 32, 3), n, np.uint8)
            label = -1 if split == "unlabelled" else n % 3
            yield n, {"image": image, "label": label, "name": str(n)}


def prepare(builder):
    """Writes a set without TensorFlow Datasets' progress bars."""
    with (
        open(os.devnull, "w") as null,
        contextlib.redirect_stdout(null),
        contextlib.redirect_stderr(null),
    ):
        builder.download_and_prepare()
    return builder
