"""The folder that TensorFlow Serving reads: versions of models, and models.config.

repository/
  models.config          which models are served, which versions of them, and their labels
  levit256/1/            a version: a SavedModel
  levit256/2/
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from levit_common.files import atomic_path

CONFIG_FILE = "models.config"
PLATFORM = "tensorflow"

ModelServerConfig = model_server_config_pb2.ModelServerConfig
ModelConfig = model_server_config_pb2.ModelConfig

# TF Serving accepts anything but ":" between two slashes of a URL. These names need no escapes in a
# URL, a shell or a file name, and cannot be a path outside of the folder.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NUMBER = re.compile(r"[0-9]+")
_LARGEST_VERSION = 2**63 - 1
_TEMPORARY = ".export-"
_ATTEMPTS = 100


def check_name(name: str, what: str = "model") -> str:
    """Checks the name of a model or a label.

    Args:
      name: the name to check.
      what: kind of thing that has the name, for the message.

    Returns:
      `name`.

    Raises:
      ValueError: it cannot be used in a URL of TensorFlow Serving.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"A {what}'s name consists of letters, digits, '.', '_' and '-', begins with a letter "
            f"or digit and has at most 100 characters. Received: {name!r}"
        )
    return name


def check_version(version: int) -> int:
    """Checks the number of a version.

    Raises:
      ValueError: it is not positive, or has more than 63 bits.
    """
    if not 1 <= version <= _LARGEST_VERSION:
        raise ValueError(f"A version is a positive integer of 63 bits. Received: {version}")
    return version


@dataclasses.dataclass
class NewVersion:
    """A version under construction.

    Attributes:
      path: its folder, temporary until it is published.
      number: its number; None until it has one.
      replaced: whether it took the place of an earlier one with its number.
    """

    path: Path
    number: int | None
    replaced: bool = False


class Repository:
    """A folder of models; it is created when something is written.

    Attributes:
      path: absolute path of the folder.
      config_path: path of models.config.

    Args:
      path: the folder.

    Raises:
      NotADirectoryError: `path` exists and is not a folder.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(os.path.abspath(os.fspath(path)))
        self.config_path = self.path / CONFIG_FILE
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"{self.path}: not a folder; expected a model repository.")

    def folder(self, name: str) -> Path:
        """Returns the folder of a model's versions.

        Raises:
          ValueError: see `check_name`; or there is a file of that name.
        """
        folder = self.path / check_name(name)
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is a file, so no model can have the name {name!r}.")
        return folder

    def versions(self, name: str) -> dict[int, Path]:
        """Returns the folders of a model's versions by ascending number, as for TF Serving."""
        folder = self.folder(name)
        if not folder.is_dir():
            return {}
        numbered = {
            int(p.name): p for p in folder.iterdir() if _NUMBER.fullmatch(p.name) and p.is_dir()
        }
        return dict(sorted(numbered.items()))

    @contextlib.contextmanager
    def new_version(
        self, name: str, number: int | None = None, overwrite: bool = False
    ) -> Iterator[NewVersion]:
        """Makes a temporary folder that becomes a version if the block succeeds, or is deleted.

        TF Serving ignores the temporary folder, since its name is not a number.

        Args:
          name: name of the model.
          number: number of the version; by default the next one at the end of the block, after any
            versions that others have exported in the meantime.
          overwrite: whether an existing version may be replaced. A server that has loaded it does
            not notice.

        Yields:
          The version: its folder to write to, and after the block its published folder.

        Raises:
          FileExistsError: the version exists and `overwrite` is false, either before the block, or
            after it if another export was faster.
          OSError: the repository cannot be written to.
        """
        if number is not None and check_version(number) in self.versions(name) and not overwrite:
            raise self._exists(name, number)
        folder = self.folder(name)
        created = [path for path in (folder, self.path) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder, prefix=_TEMPORARY))
        try:
            # A folder of its own, because the temporary folder has private permissions.
            draft = NewVersion(scratch / "version", number)
            draft.path.mkdir()
            yield draft
            self._publish(draft, name, overwrite)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            for path in created:
                with contextlib.suppress(OSError):  # no longer empty
                    path.rmdir()

    def _publish(self, draft: NewVersion, name: str, overwrite: bool) -> None:
        for _ in range(_ATTEMPTS):
            versions = self.versions(name)
            number = draft.number or max(versions, default=0) + 1
            target = versions.get(number, self.folder(name) / str(number))
            if overwrite and target.exists():
                os.rename(target, draft.path.parent / "replaced")
                draft.replaced = True
            try:
                os.rename(draft.path, target)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    raise
                if draft.number is not None:
                    raise self._exists(name, number) from None
                continue  # another export has taken the number
            draft.path, draft.number = target, number
            return
        raise FileExistsError(f"{self.folder(name)}: no free number after {_ATTEMPTS} attempts.")

    def _exists(self, name: str, number: int) -> FileExistsError:
        return FileExistsError(
            f"{self.folder(name) / str(number)} exists already; --overwrite replaces it, and "
            "without --version the next number is taken."
        )

    def remove_version(self, name: str, number: int) -> None:
        """Deletes a version, which disappears at once for a server.

        Raises:
          ValueError: the version does not exist.
        """
        versions = self.versions(name)
        if number not in versions:
            raise missing(name, number, versions)
        scratch = Path(tempfile.mkdtemp(dir=self.folder(name), prefix=_TEMPORARY))
        os.rename(versions[number], scratch / "removed")
        shutil.rmtree(scratch)

    def read_config(self) -> ModelServerConfig:
        """Reads models.config; returns an empty list of models if it does not exist.

        Raises:
          ValueError: it is not a ModelServerConfig with a `model_config_list`.
        """
        config = ModelServerConfig()
        try:
            text_format.Parse(self.config_path.read_text(encoding="utf-8"), config)
        except FileNotFoundError:
            config.model_config_list.SetInParent()
            return config
        except (text_format.ParseError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{self.config_path}: no ModelServerConfig in text format: {error}"
            ) from error
        if config.WhichOneof("config") != "model_config_list":
            raise ValueError(f"{self.config_path}: expected a model_config_list.")
        return config

    @contextlib.contextmanager
    def edited_model(self, name: str, base_path: str | None = None) -> Iterator[ModelConfig]:
        """Yields a model's configuration in models.config, to be edited in the block.

        Everything else in the file is kept, except comments. A server that polls the file sees
        either the old or the new one; concurrent edits wait for each other.

        Args:
          name: name of the model; it is added if it is missing.
          base_path: path of the model's folder on the server; by default the one in the file, or
            else its folder here.

        Yields:
          The model's configuration. If the block raises, the file is unchanged.

        Raises:
          ValueError: see `read_config` and `check_name`.
        """
        folder = self.folder(name)
        self.path.mkdir(parents=True, exist_ok=True)
        with self._locked():
            config = self.read_config()
            models = config.model_config_list.config
            model = next((m for m in models if m.name == name), None)
            if model is None:
                model = models.add(name=name, base_path=str(folder), model_platform=PLATFORM)
            model.base_path = base_path or model.base_path
            yield model
            with atomic_path(self.config_path, overwrite=True) as temporary:
                Path(temporary).write_text(text_format.MessageToString(config), encoding="utf-8")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def missing(name: str, number: int, versions: Iterable[int]) -> ValueError:
    """Makes the error for a version that does not exist."""
    found = ", ".join(map(str, versions)) or "none"
    return ValueError(f"Model {name!r} has no version {number}. There are: {found}.")
