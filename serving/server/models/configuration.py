"""The configuration of the served models: its rules, and the labels of versions."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from grpc import StatusCode
from tensorflow_serving.config.model_server_config_pb2 import (
    ModelConfig,
    ModelServerConfig,
    ModelType,
)

from serving.server.errors import ServingError, invalid


def check_models(config: ModelServerConfig) -> dict[str, ModelConfig]:
    """Checks a configuration, and returns its models by name.

    Raises:
      ServingError: INVALID_ARGUMENT, the configuration is not valid.
    """
    if config.WhichOneof("config") == "custom_model_config":
        raise invalid("custom_model_config is not in this server: use model_config_list.")
    models: dict[str, ModelConfig] = {}
    for model in config.model_config_list.config:
        if model.name in models:
            raise invalid(f"Illegal to list model {model.name} multiple times in config list")
        if not os.path.isabs(model.base_path):
            raise invalid(
                f"Expected model {model.name} to have an absolute path or URI; got base_path()="
                f"{model.base_path}"
            )
        platform = model.model_platform
        if not platform and model.model_type == ModelType.TENSORFLOW:
            platform = "tensorflow"
        if not platform:
            raise invalid(
                f"Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
                f"ModelServerConfig::model_platform, model name is {model.name}"
            )
        if platform != "tensorflow":
            raise invalid(f"Model {model.name} requests unsupported platform {platform}")
        models[model.name] = model
    return models


class Labels:
    """The versions of labels, such as `stable`; a label never refers to an unknown version."""

    def __init__(self, is_available: Callable[[str, int], bool], allow_unavailable: bool):
        """Makes an empty set of labels.

        Args:
          is_available: function that tells whether a version of a model is served.
          allow_unavailable: whether a new label may refer to a version that is not served (yet).
        """
        self._is_available = is_available
        self._allow_unavailable = allow_unavailable
        self._versions: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def check(self, models: dict[str, ModelConfig]) -> dict[tuple[str, str], int]:
        """Checks the labels of a configuration, and returns them for `assign`.

        Raises:
          ServingError: FAILED_PRECONDITION, the version of a label is not served.
        """
        labels = {}
        for model in models.values():
            for label, version in model.version_labels.items():
                before = self._versions.get((model.name, label), version)
                allowed = self._allow_unavailable and before == version
                if not allowed and not self._is_available(model.name, version):
                    raise ServingError(
                        StatusCode.FAILED_PRECONDITION,
                        f"Request to assign label to version {version} of model {model.name}, "
                        f"which is not currently available for inference",
                    )
                labels[model.name, label] = version
        return labels

    def assign(self, labels: dict[tuple[str, str], int]) -> None:
        """Replaces all labels."""
        with self._lock:
            self._versions = labels

    def version(self, model: str, label: str) -> int:
        """Returns the version that a label refers to.

        Raises:
          ServingError: INVALID_ARGUMENT, the label does not exist.
        """
        with self._lock:
            version = self._versions.get((model, label))
        if version is None:
            raise invalid(f"Unrecognized servable version label: {label}")
        return version
