"""The configuration of the models that are served: its rules and the labels of versions."""

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
    """The models of a configuration by their names.

    Raises:
      ServingError: INVALID_ARGUMENT, the configuration breaks a rule.
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
    """What the labels of versions, such as `stable`, mean; labels never name unknown versions."""

    def __init__(self, is_available: Callable[[str, int], bool], allow_unavailable: bool):
        """Starts without labels.

        Args:
          is_available: whether a version of a model is served.
          allow_unavailable: whether a new label may name a version that is not served (yet).
        """
        self._is_available = is_available
        self._allow_unavailable = allow_unavailable
        self._versions: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def check(self, models: dict[str, ModelConfig]) -> dict[tuple[str, str], int]:
        """The labels of a configuration, for `assign`.

        Raises:
          ServingError: FAILED_PRECONDITION, a label's version is not served.
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
        """The version that a label names.

        Raises:
          ServingError: INVALID_ARGUMENT, there is no such label.
        """
        with self._lock:
            version = self._versions.get((model, label))
        if version is None:
            raise invalid(f"Unrecognized servable version label: {label}")
        return version
