"""Checks `.keras` files: archives of two JSON descriptions and the weights."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import math
import os
import re
import struct
import threading
import zipfile
from collections.abc import Iterator

import keras

from levit_common.regular_files import ModelFileError
from levit_lite.opening.archives import ALWAYS_ALLOWED, DAMAGE, check_archive
from levit_tf.opening.weight_files import check_weights

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
# The description of LeViT-384 has half a megabyte; the parsed objects take ten times as much.
_LIMITS = {CONFIG: 16 << 20, METADATA: 1 << 20}
_VERSION = re.compile(r"[\w.+-]{1,40}")
_ONE_AT_A_TIME = threading.RLock()
_LOCAL_HEADER = struct.Struct("<26xHH")


def check_keras_file(path: str | os.PathLike) -> int:
    """Checks a `.keras` file before Keras reads it.

    Returns:
      Size of its weights in bytes, see `bounded_variables`.

    Raises:
      FileNotFoundError: there is no such file.
      ModelFileError: it is not such an archive, or `archives` or `weight_files` refuse its content.
    """
    path = os.fspath(path)
    names = check_archive(path, _LIMITS)
    missing = [name for name in (CONFIG, WEIGHTS) if name not in names]
    if missing:
        raise ModelFileError(f"{path}: not a .keras file: {' and '.join(missing)} missing in it.")
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            member = archive.getinfo(WEIGHTS)
            if member.compress_type == zipfile.ZIP_STORED:
                weights = _Stored(file, member)
            else:
                weights = io.BytesIO(archive.read(WEIGHTS))
            return check_weights(weights, member.file_size, path)
    except ModelFileError:
        raise
    except DAMAGE as error:
        raise ModelFileError(f"{path}: {WEIGHTS} in it is damaged ({error}).") from error


def keras_version_in(path: str | os.PathLike) -> str | None:
    """Returns the version of Keras that saved a file; None if the file does not tell.

    Args:
      path: a file that `check_keras_file` has accepted.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = json.loads(archive.read(METADATA))["keras_version"]
        return found if _VERSION.fullmatch(found) else None
    except (KeyError, TypeError, ValueError, *DAMAGE):
        return None


@contextlib.contextmanager
def bounded_variables(weights: int, source: str) -> Iterator[None]:
    """Context manager in which layers cannot create more variables than a file has weights for.

    A description of a few bytes can define layers that fill the memory, and Keras creates their
    variables before it reads the weights. Keras has no hook for this, so the method with which all
    layers create variables is replaced for the duration; other threads are not affected.

    Args:
      weights: size of the weights in the file, in bytes.
      source: the file, for error messages.

    Raises:
      ModelFileError: the layers need more variables.
    """
    # Twice the size, since a file may store float16 weights of a model that computes in float32.
    limit, made, refusals = max(ALWAYS_ALLOWED, 2 * weights), 0, []
    thread = threading.get_ident()
    with _ONE_AT_A_TIME:
        add_weight = keras.layers.Layer.add_weight

        @functools.wraps(add_weight)
        def counted(layer, shape=None, *args, **options):
            nonlocal made
            if threading.get_ident() != thread:
                return add_weight(layer, shape, *args, **options)
            made += 4 * math.prod((shape,) if isinstance(shape, int) else shape or ())
            if made > limit:
                refusals.append(
                    ModelFileError(
                        f"{source}: {CONFIG} in it describes more than {limit:,} bytes of "
                        f"variables, for which {WEIGHTS} has {weights:,}."
                    )
                )
                raise refusals[0]
            return add_weight(layer, shape, *args, **options)

        keras.layers.Layer.add_weight = counted
        try:
            yield
        except Exception as error:
            if refusals:  # Keras wraps our error into one of many lines
                raise refusals[0] from error
            raise
        finally:
            keras.layers.Layer.add_weight = add_weight


class _Stored(io.RawIOBase):
    """An uncompressed archive member as a seekable file that is not read into memory."""

    def __init__(self, file, member: zipfile.ZipInfo):
        file.seek(member.header_offset)
        skipped = sum(_LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size)))
        self._file, self._size, self._position = file, member.file_size, 0
        self._start = member.header_offset + _LOCAL_HEADER.size + skipped

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer) -> int:
        self._file.seek(self._start + self._position)
        wanted = max(0, min(len(buffer), self._size - self._position))
        data = self._file.read(wanted)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
