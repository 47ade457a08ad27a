"""Loads and unloads versions in such a way that a served model stays served.

A new version is loaded before an old one is unloaded, and an old one is unloaded after its last
request.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from absl import logging
from grpc import StatusCode
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from serving.server.errors import ServingError
from serving.server.models.servable import Servable
from serving.server.statuses import status_of
from serving.tensorflow_c.c_api import TensorFlowError

State = enum.IntEnum("State", ModelVersionStatus.State.items())


class NotServedError(ServingError):
    """Models that should be served have no version that is."""


@dataclasses.dataclass
class Version:
    """The state of one version of a model.

    Attributes:
      path: its folder.
      aspired: whether it should be served.
      was_away: whether it was not aspired at some time; a version that has ended is loaded again
        only after that.
      state: the state that GetModelStatus returns.
      error: the reason why it is not served.
      attempts: number of failed attempts to load it.
      retry_at: time of the next attempt, by the monotonic clock.
      servable: the loaded version.
    """

    path: Path
    aspired: bool = True
    was_away: bool = False
    state: State = State.START
    error: ServingError | None = None
    attempts: int = 0
    retry_at: float = 0.0
    servable: Servable | None = None


class Lifecycle:
    """All versions of all models, and the threads that load and unload them."""

    def __init__(
        self,
        load: Callable[[str, int, Path], Servable],
        *,
        load_threads: int = 1,
        unload_threads: int = 1,
        max_retries: int = 5,
        retry_interval_s: float = 60.0,
        on_change: Callable[[str, int], None] = lambda model, available: None,
    ):
        """Starts without models.

        Args:
          load: loads a version and warms it up.
          load_threads: number of versions to load at a time.
          unload_threads: number of versions to unload at a time.
          max_retries: number of retries for a version that failed to load.
          retry_interval_s: seconds between two attempts.
          on_change: called with a model and the number of its served versions.
        """
        self._load = load
        self._max_retries = max_retries
        self._retry_interval_s = retry_interval_s
        self._on_change = on_change
        self._models: dict[str, dict[int, Version]] = {}
        self._changed = threading.Condition()
        self._loaders = ThreadPoolExecutor(load_threads, "load")
        self._unloaders = ThreadPoolExecutor(unload_threads, "unload")
        self._stopped = False
        self._timer = threading.Thread(target=self._retry_when_due, name="retry", daemon=True)
        self._timer.start()

    def aspire(self, model: str, versions: Mapping[int, Path]) -> None:
        """Sets which versions of a model should be served; the others are unloaded."""
        with self._changed:
            known = self._models.setdefault(model, {})
            for number, version in known.items():
                version.aspired = number in versions
                version.was_away |= not version.aspired
            for number, path in versions.items():
                version = known.get(number)
                if version is None or (version.state == State.END and version.was_away):
                    known[number] = Version(path)
            self._act(model)

    def retry_unserved(self, model: str) -> bool:
        """Returns whether no version of a model is served; if so, retries those that failed."""
        with self._changed:
            known = self._models.get(model, {})
            if any(map(_available, known.values())):
                return False
            for number, version in known.items():
                if version.aspired and version.state == State.END and version.error:
                    known[number] = Version(version.path)
            if known:
                self._act(model)
            return True

    @contextlib.contextmanager
    def serving(self, model: str, number: int | None) -> Iterator[Servable]:
        """Yields a version, which stays loaded during the block.

        Args:
          model: name of the model.
          number: number of the version; None for the latest that is served.

        Raises:
          ServingError: NOT_FOUND, the version is not served.
        """
        with self._changed:
            versions = self._models.get(model, {})
            if number is None:
                number = max((n for n, v in versions.items() if _available(v)), default=None)
            version = versions.get(number)
            if version is None or not _available(version):
                asked = f"Latest({model})" if number is None else f"Specific({model}, {number})"
                raise ServingError(StatusCode.NOT_FOUND, f"Servable not found for request: {asked}")
            servable = version.servable
            servable.acquire()
        try:
            yield servable
        finally:
            servable.release()

    def states(self, model: str) -> dict[int, tuple[State, ServingError | None]]:
        """Returns state and error of each version seen so far, the latest first."""
        with self._changed:
            versions = self._models.get(model, {})
            return {n: (versions[n].state, versions[n].error) for n in sorted(versions)[::-1]}

    def wait_until_served(self, models: set[str], patient: bool) -> None:
        """Waits until a version of each model is served, or the server stops.

        Args:
          models: names of the models.
          patient: whether to wait also for models that have no versions yet.

        Raises:
          NotServedError: a model's versions failed to load, or it has no versions.
        """

        def failed() -> dict[str, dict[int, Version]]:
            found = {}
            for model in models:
                known = self._models.get(model, {})
                aspired = {n: v for n, v in known.items() if v.aspired}
                ended = all(v.state == State.END for v in aspired.values())
                if ended and (aspired or not patient):
                    found[model] = aspired
            return found

        def served() -> bool:
            return all(any(map(_available, self._models.get(m, {}).values())) for m in models)

        with self._changed:
            self._changed.wait_for(lambda: self._stopped or served() or failed())
            broken = failed()
        if broken:
            reasons = ", ".join(
                f"{{{{name: {model} version: {number}}} due to error: {version.error}}}"
                for model, versions in broken.items()
                for number, version in (versions or {"latest": _NO_VERSION}).items()
            )
            raise NotServedError(
                StatusCode.UNKNOWN,
                f"{len(broken)} model(s) did not become available: {{{reasons}}}",
            )

    def stop(self) -> None:
        """Unloads all versions, each after its last request."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._loaders.shutdown(cancel_futures=True)
        self._unloaders.shutdown()
        with self._changed:
            served = [
                (model, number, version)
                for model, versions in self._models.items()
                for number, version in versions.items()
                if _available(version)
            ]
            for _, _, version in served:
                version.state = State.UNLOADING
        for model, number, version in served:
            self._do_unload(model, number, version)

    def _act(self, model: str) -> None:
        """Takes the next steps for a model; the caller holds the lock."""
        if self._stopped:
            return
        versions = self._models[model]
        aspired = [v for v in versions.values() if v.aspired]
        leaving = sorted(n for n, v in versions.items() if not v.aspired and _available(v))
        if not aspired or any(map(_available, aspired)):
            for number in leaving:
                self._start_unload(model, number)
        elif len(leaving) > 1:
            for number in leaving[:-1]:
                self._start_unload(model, number)
        now = time.monotonic()
        for number in sorted(versions, reverse=True):
            version = versions[number]
            if version.aspired and version.state == State.START:
                version.state = State.LOADING
                self._loaders.submit(self._do_load, model, number, version)
            elif version.state == State.LOADING and version.error and version.retry_at <= now:
                if not version.aspired:
                    version.state = State.END
                else:
                    version.retry_at = float("inf")
                    self._loaders.submit(self._do_load, model, number, version)
        self._on_change(model, sum(map(_available, versions.values())))
        self._changed.notify_all()

    def _start_unload(self, model: str, number: int) -> None:
        version = self._models[model][number]
        version.state = State.UNLOADING
        self._unloaders.submit(self._do_unload, model, number, version)

    def _do_load(self, model: str, number: int, version: Version) -> None:
        servable, error = None, None
        if version.aspired:
            try:
                servable = self._load(model, number, version.path)
            except (ServingError, TensorFlowError) as failure:
                error = status_of(failure)
            except Exception:
                logging.exception("%s version %d: failed to load", model, number)
                error = ServingError(StatusCode.INTERNAL, "The server failed to load it.")
        with self._changed:
            version.error = error
            if servable is not None:
                version.servable, version.state = servable, State.AVAILABLE
                logging.info(
                    "Successfully loaded servable version {name: %s version: %d}", model, number
                )
            elif error is None or version.attempts >= self._max_retries:
                version.state = State.END
            else:
                version.attempts += 1
                version.retry_at = time.monotonic() + self._retry_interval_s
            if error is not None:
                logging.error("%s version %d does not load: %s", model, number, error.message)
            self._act(model)

    def _do_unload(self, model: str, number: int, version: Version) -> None:
        version.servable.close()
        with self._changed:
            version.servable, version.state = None, State.END
            logging.info("Done unloading servable version {name: %s version: %d}", model, number)
            self._act(model)

    def _retry_when_due(self) -> None:
        with self._changed:
            while not self._stopped:
                now = time.monotonic()
                due = [
                    version.retry_at
                    for versions in self._models.values()
                    for version in versions.values()
                    if version.state == State.LOADING and version.error
                ]
                wait = min(due, default=float("inf")) - now
                if wait <= 0:
                    for model in self._models:
                        self._act(model)
                    continue
                self._changed.wait(wait if wait < 3600 else 3600)


_NO_VERSION = Version(
    Path(), error=ServingError(StatusCode.NOT_FOUND, "There is no version in its folder.")
)


def _available(version: Version) -> bool:
    return version.state == State.AVAILABLE
