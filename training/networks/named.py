"""The networks that a configuration names, looked up once for a whole run: its start, its teacher.

What a branch of a repository on the hub stands for may change at any time, and with it the run.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

from levit_tf.weights.hub.checkpoints import HubCheckpoint
from training.config import Config
from training.config_checks import PACKAGED, RELEASED
from training.networks.initial import Source, find_source
from training.teachers.cache import digest_of
from training.teachers.labels import digest_of_teacher
from training.teachers.teacher import find_teacher, teacher_file


@dataclasses.dataclass(frozen=True)
class NamedNetworks:
    """The networks that a configuration names.

    Attributes:
      source: the initial weights.
      teacher: a result of `find_teacher`; None if the configuration names no teacher.
    """

    source: Source
    teacher: str | HubCheckpoint | None

    @property
    def on_hub(self) -> dict[str, str]:
        """Addresses on the hub with their commits, by the field of the configuration."""
        found = {"init_from": self.source.on_hub, "teacher": self.teacher}
        return {
            field: str(checkpoint.address)
            for field, checkpoint in found.items()
            if isinstance(checkpoint, HubCheckpoint)
        }

    def digests(self, config: Config) -> dict[str, str]:
        """Returns checksums of the local files that a resumed run loads again, by field.

        They are the teacher's, and the initial network's where it stays in use: qat measures it and
        learns from it, exits are added to it. In any other run, its weights are in the checkpoints.

        Args:
          config: the configuration that names the networks.
        """
        files, found = {"teacher_classes": config.teacher_classes}, {}
        if self.teacher is not None and not isinstance(self.teacher, HubCheckpoint):
            path, _ = teacher_file(self.teacher)
            found["teacher"] = digest_of_teacher(path, config.teacher_classes)
        stays = config.qat or (config.exits and not config.exits_end_to_end)
        is_shipped = self.source.path in (RELEASED, PACKAGED)
        if stays and self.source.on_hub is None and not is_shipped:
            files["init_from"] = self.source.path
        return found | {field: digest_of(path) for field, path in files.items() if path}


def find_networks(config: Config, on_hub: Mapping[str, str] | None = None) -> NamedNetworks:
    """Looks up the networks, and checks them as far as possible before any picture is read.

    Args:
      config: the configuration.
      on_hub: the addresses that an earlier part of the same run has opened.

    Raises:
      FileNotFoundError, ImportError, PermissionError, ConnectionError, ValueError: see
        `find_source` and `find_teacher`.
    """
    on_hub = on_hub or {}
    source = find_source(config, on_hub.get("init_from"))
    if config.teacher is None:
        return NamedNetworks(source, None)
    if config.teacher_classes is not None and not os.path.isfile(config.teacher_classes):
        raise FileNotFoundError(
            f"teacher_classes={config.teacher_classes}: no such file. Expected the names of the "
            "teacher's classes, one a line, or a .json that gives those of each class."
        )
    return NamedNetworks(source, find_teacher(config.teacher, on_hub.get("teacher")))
