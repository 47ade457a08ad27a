"""The models of a server: their configuration, their versions, and watching for new ones."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

from absl import logging
from grpc import StatusCode
from tensorflow.core.protobuf.config_pb2 import ConfigProto
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

from levit_common.regular_files import ModelFileError, check_regular_tree
from levit_lite.opening.tflite_files import check_tflite_file
from levit_tf.opening.saved_models import GRAPH_FILE, OTHER_FORMS, check_saved_model
from serving.server import text_files
from serving.server.errors import ServingError
from serving.server.memory import give_back_memory
from serving.server.metrics import Metrics
from serving.server.models import tflite_session
from serving.server.models.batching import BatchingParameters, read_batching_parameters
from serving.server.models.configuration import Labels, check_models
from serving.server.models.inference import Rules
from serving.server.models.lifecycle import Lifecycle, NotServedError, State
from serving.server.models.servable import Servable
from serving.server.models.version_policy import aspired_versions
from serving.server.models.warmup import warm_up
from serving.server.options import Options, usable_processors
from serving.server.statuses import status_of
from serving.tensorflow_c.c_api import TensorFlowError


class Models:
    """Keeps those versions loaded that the configuration and the models' folders demand."""

    def __init__(self, options: Options, rules: Rules, metrics: Metrics):
        """Reads the files given in the options; nothing is loaded yet.

        Raises:
          OSError, ValueError: a file cannot be read or is not valid.
          ImportError: LiteRT is preferred and not installed.
        """
        if options.prefer_tflite_model:
            tflite_session.litert_interpreter()  # now, rather than at every attempt to load
        self._options = options
        self._rules = rules
        self._metrics = metrics
        self._session_config = _session_config(options)
        self._batching = _batching(options)
        self._lifecycle = Lifecycle(
            self._load,
            load_threads=max(options.num_load_threads, 1),
            unload_threads=max(options.num_unload_threads, 1),
            max_retries=options.max_num_load_retries,
            retry_interval_s=options.load_retry_interval_micros / 1e6,
            on_change=metrics.available,
        )
        self._labels = Labels(
            lambda model, version: self.states(model).get(version, (None,))[0] == State.AVAILABLE,
            options.allow_version_labels_for_unavailable_models,
        )
        self._models: dict[str, ModelConfig] = {}
        self._config_lock = threading.Lock()
        self._poll_lock = threading.Lock()
        self._stopping = threading.Event()
        self._pollers: list[threading.Thread] = []

    def start(self) -> None:
        """Loads the models, waits for them, and then watches for new versions.

        Raises:
          OSError, ValueError: models.config cannot be read.
          ServingError: models.config is not valid, or a model does not load.
        """
        options = self._options
        config = self._read_models()
        self._poll(options.file_system_poll_wait_seconds, self._look_for_versions, "versions")
        self.reload(config, patient=True)
        if options.model_config_file:
            self._poll(
                options.model_config_file_poll_wait_seconds, self._look_for_models, "models.config"
            )

    def stop(self) -> None:
        """Unloads all versions, each after its last request."""
        self._stopping.set()
        self._lifecycle.stop()
        for thread in self._pollers:
            thread.join()

    def __contains__(self, model: str) -> bool:
        return model in self._models

    def names(self) -> list[str]:
        """Returns the names of the configured models."""
        return list(self._models)

    def states(self, model: str) -> dict[int, tuple[State, ServingError | None]]:
        """Returns state and error of each version of a model, the latest first."""
        return self._lifecycle.states(model)

    def serving(self, spec: model_pb2.ModelSpec) -> contextlib.AbstractContextManager[Servable]:
        """Returns a context with the version for a request; it stays loaded during the block.

        Raises:
          ServingError: the version, label or model does not exist.
        """
        if not spec.name:
            raise ServingError(StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        number = None
        if choice == "version":
            number = spec.version.value
        elif choice == "version_label":
            number = self._labels.version(spec.name, spec.version_label)
        return self._lifecycle.serving(spec.name, number)

    def reload(
        self, config: ModelServerConfig, *, patient: bool = False, retry: bool = False
    ) -> None:
        """Replaces the configuration, and waits until a version of each new model is served.

        Args:
          config: the new configuration.
          patient: whether to wait also for models without versions, instead of raising an error.
          retry: whether to retry, and wait for, known models of which no version is served.

        Raises:
          NotServedError: one of the models that it waits for does not load; the new configuration
            is in force.
          ServingError: the configuration is not valid, and the old one stays.
        """
        models = check_models(config)
        with self._config_lock:
            if config.WhichOneof("config") is None:
                # Rather a file that is just being written than a wish to serve nothing.
                if self._models:
                    raise ServingError(
                        StatusCode.FAILED_PRECONDITION,
                        "Cannot transition to requested config. It is only legal to transition "
                        "from one ModelConfigList to another.",
                    )
                logging.info("Taking no action for empty config.")
                return
            labels = self._labels.check(models)
            awaited = set(models) - set(self._models)
            if retry:
                awaited |= set(filter(self._lifecycle.retry_unserved, models))
            with self._poll_lock:
                gone = set(self._models) - set(models)
                self._models = models
                self._labels.assign(labels)
                for model in gone:
                    self._lifecycle.aspire(model, {})
            self._look_for_versions()
            self._lifecycle.wait_until_served(awaited, patient)

    def _load(self, model: str, version: int, path: Path) -> Servable:
        started, status = time.perf_counter(), "INTERNAL"
        logging.info(
            "Loading servable version {name: %s version: %d} from %s", model, version, path
        )
        try:
            _check_files(path, self._options)
            servable = Servable(
                model,
                version,
                path,
                tags=self._options.saved_model_tags.split(","),
                config=self._session_config,
                batching=self._batching,
                tflite_interpreters=_tflite_interpreters(self._options),
            )
            try:
                if self._options.enable_model_warmup:
                    iterations = max(self._options.num_request_iterations_for_warmup, 1)
                    warm_up(servable, path, self._rules, iterations)
            except BaseException:
                servable.close()
                raise
            status = "OK"
            return servable
        except (ServingError, TensorFlowError) as error:
            found = status_of(error)
            status = found.code.name
            # Clients may see why a version is not served, but not its path.
            where = f"{model}/{version}"
            raise ServingError(found.code, found.message.replace(str(path), where)) from error
        finally:
            self._metrics.load(model, version, status, time.perf_counter() - started)
            give_back_memory()

    def _read_models(self) -> ModelServerConfig:
        if self._options.model_config_file:
            return text_files.read_models(self._options.model_config_file)
        config = ModelServerConfig()
        config.model_config_list.config.add(
            name=self._options.model_name,
            base_path=self._options.model_base_path,
            model_platform="tensorflow",
        )
        return config

    def _look_for_versions(self) -> None:
        with self._poll_lock:
            for model, config in self._models.items():
                versions = aspired_versions(config)
                if versions is not None:
                    self._lifecycle.aspire(model, versions)

    def _look_for_models(self) -> None:
        try:
            self.reload(self._read_models())
        except NotServedError as error:
            logging.error("The new models.config is in force, but: %s", error)
        except (OSError, ValueError, ServingError) as error:
            logging.error("The models stay as they are: %s", error)

    def _poll(self, seconds: float, look: Callable[[], None], name: str) -> None:
        if not seconds:
            return

        def keep_looking() -> None:
            while not self._stopping.wait(seconds):
                try:
                    look()
                except Exception:
                    logging.exception("Looking for %s failed.", name)

        thread = threading.Thread(target=keep_looking, name=f"poll {name}", daemon=True)
        self._pollers.append(thread)
        thread.start()


def _check_files(path: Path, options: Options) -> None:
    """Refuses files that could block or crash the loader, or do more than compute."""
    try:
        check_regular_tree(path)
        if options.prefer_tflite_model and (path / tflite_session.FILE).exists():
            check_tflite_file(path / tflite_session.FILE)
        elif any((path / name).exists() for name in (GRAPH_FILE, *OTHER_FORMS)):
            check_saved_model(path, options.trust_models, "--trust_models")
    except (OSError, ModelFileError) as error:
        raise ServingError(StatusCode.FAILED_PRECONDITION, str(error)) from error


def _session_config(options: Options) -> ConfigProto:
    config = ConfigProto()
    if options.tensorflow_session_config_file:
        config = text_files.read_session_config(options.tensorflow_session_config_file)
    both = options.tensorflow_session_parallelism
    intra = options.tensorflow_intra_op_parallelism or both
    inter = options.tensorflow_inter_op_parallelism or both
    config.intra_op_parallelism_threads = intra or config.intra_op_parallelism_threads
    config.inter_op_parallelism_threads = inter or config.inter_op_parallelism_threads
    if options.mixed_precision == "bfloat16":
        rewrites = config.graph_options.rewrite_options
        rewrites.auto_mixed_precision_onednn_bfloat16 = RewriterConfig.ON
    return config


def _tflite_interpreters(options: Options) -> int:
    if not options.prefer_tflite_model:
        return 0
    pools = options.num_tflite_pools or usable_processors()
    return pools * options.num_tflite_interpreters_per_pool


def _batching(options: Options) -> BatchingParameters | None:
    if not options.enable_batching:
        return None
    if not options.batching_parameters_file:
        return BatchingParameters()
    return read_batching_parameters(options.batching_parameters_file)
