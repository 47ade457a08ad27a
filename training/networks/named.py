"""The networks that a configuration names, looked up once for a whole run: its start, its teacher.

What a branch of a repository on the hub stands for may change at any time, and with it the run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from levit_tf.weights.hub.checkpoints import HubCheckpoint
from training.config import Config
from training.networks.initial import Source, find_source
from training.teachers.teacher import find_teacher


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
    return NamedNetworks(source, find_teacher(config.teacher, on_hub.get("teacher")))
