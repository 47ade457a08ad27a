"""Finds the versions in a model's folder, and chooses those to serve."""

from __future__ import annotations

import re
from pathlib import Path

from absl import logging
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig

_VERSION = re.compile(r"[0-9]{1,19}")


def aspired_versions(config: ModelConfig) -> dict[int, Path] | None:
    """Returns the versions that a model's policy chooses from those in its folder.

    Returns:
      From version to folder; or None if the model's folder cannot be read at the moment, which is
      no reason to unload versions.
    """
    base = Path(config.base_path)
    try:
        names = [entry.name for entry in base.iterdir()]
    except OSError as error:
        logging.log_every_n_seconds(
            logging.ERROR,
            "Could not find base path %s for servable %s with error %s",
            60,
            base,
            config.name,
            error.strerror,
        )
        return None
    found = {int(name): base / name for name in sorted(names) if _VERSION.fullmatch(name)}
    policy = config.model_version_policy
    kind = policy.WhichOneof("policy_choice") or "latest"
    if kind == "specific":
        wanted = set(policy.specific.versions)
    elif kind == "all":
        wanted = set(found)
    else:
        wanted = set(sorted(found)[-max(policy.latest.num_versions, 1) :])
    if not wanted & set(found):
        logging.log_every_n_seconds(
            logging.WARNING,
            "No versions of servable %s found under base path %s. Did you forget to name your leaf "
            "directory as a number (eg. '/1/')?",
            60,
            config.name,
            base,
        )
    return {version: path for version, path in found.items() if version in wanted}
