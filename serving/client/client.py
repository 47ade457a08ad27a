"""Clients for TensorFlow Serving and the stand-in, blocking and for asyncio."""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from serving import signatures
from serving.client import transports
from serving.client.calls import Call, Codec, Target, joints, output
from serving.client.errors import ReplyError, RequestError, TransportError
from serving.client.grpc_codec import GrpcCodec
from serving.client.pictures import batches
from serving.client.rest_codec import RestCodec
from serving.client.results import Joint, Metadata, Prediction, VersionStatus
from serving.client.retries import Attempts, Deadline, RetryPolicy
from serving.client.tensors import as_array
from serving.client.transports import Tls

DEFAULT_MODEL = "levit256"
DEFAULT_TIMEOUT_S = 30.0
Picture = bytes | str | os.PathLike
_Result = TypeVar("_Result")


class _Base:
    """The parts that both clients share: everything but sending and waiting."""

    def __init__(
        self,
        server: str,
        model: str = DEFAULT_MODEL,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retries: RetryPolicy | None = None,
        tls: Tls | None = None,
    ):
        """Makes a client; the connection is opened by the first call.

        Args:
          server: "localhost:8500" for gRPC; "http://localhost:8501", or https, for REST.
          model: name of a model on the server.
          version: number of a version; the newest by default.
          label: label of a version instead, such as "stable".
          timeout_s: default time limit of a call, with all its attempts, seconds.
          retries: when to repeat a failed attempt.
          tls: encryption for gRPC; custom certificates for https.

        Raises:
          ValueError: an argument is not valid, or a file of `tls` cannot be read.
        """
        Deadline(timeout_s)  # rejects invalid values
        self._target = Target(model, version, label)
        self._timeout_s = timeout_s
        self._policy = retries or RetryPolicy()
        self._rng = random.Random()
        self._server = server
        self._is_rest = is_rest(server)
        if self._is_rest and tls is not None and not server.startswith("https:"):
            raise ValueError(f"{server}: tls needs an https address.")
        self._codec: Codec = RestCodec() if self._is_rest else GrpcCodec()
        self._metadata: Metadata | None = None  # cached for REST, whose responses have no types

    def _deadline(self, timeout_s: float | None) -> Deadline:
        return Deadline(self._timeout_s if timeout_s is None else timeout_s)

    def _attempts(self, deadline: Deadline) -> Attempts:
        return Attempts(self._policy, deadline, self._rng)

    def _failure(self, error: TransportError | ReplyError, attempts: Attempts) -> RequestError:
        code = getattr(error, "code", "INTERNAL")
        return RequestError(code, str(error), self._server, self._target.model, attempts.count)

    def _joints(self, found: Mapping[str, np.ndarray], count: int) -> list[list[Joint]]:
        try:
            return joints(*(output(found, name) for name in signatures.OF_JOINTS), count)
        except ReplyError as error:
            raise RequestError("INTERNAL", str(error), self._server, self._target.model) from error

    def _predict_call(
        self,
        inputs: Mapping[str, np.ndarray],
        signature_name: str,
        output_filter: Sequence[str],
    ) -> Call[dict[str, np.ndarray]]:
        return self._codec.predict(
            self._target, inputs, signature_name, output_filter, self._metadata
        )


class Client(_Base):
    """A blocking client; threads may share one.

        with Client("localhost:8500", "levit256") as client:
            for name, probability in client.classify(["cat.jpg"])[0]:
                print(name, probability)

    Every call raises `RequestError` if the server cannot be reached in time, or returns an error or
    an invalid response; and `ValueError` for invalid arguments.
    """

    def __init__(self, server: str, model: str = DEFAULT_MODEL, **options: Any):
        super().__init__(server, model, **options)
        kind = transports.RestTransport if self._is_rest else transports.GrpcTransport
        self._transport = kind(server.rstrip("/"), options.get("tls"))

    def classify(
        self, images: Sequence[Picture], *, timeout_s: float | None = None
    ) -> list[list[Prediction]]:
        """Classifies pictures; their files are sent unchanged, in batches.

        Args:
          images: paths or contents of picture files.
          timeout_s: time limit of the whole call in seconds; by default the client's.

        Returns:
          For each picture the most probable classes, best first, as many as the server returns.

        Raises:
          RequestError: see the class.
          ValueError: a file cannot be read or is empty.
        """
        deadline = self._deadline(timeout_s)
        found = []
        for batch in batches(images):
            found += self._send(self._codec.classify(self._target, batch), deadline)
        return found

    def classify_with_exits(
        self, images: Sequence[Picture], *, timeout_s: float | None = None
    ) -> list[tuple[list[Prediction], int | None]]:
        """Does the same as `classify`, and returns the exit used for each picture.

        Returns:
          For each picture its classes and the index of the exit, from 0; None for a model without
          exits.
        """
        deadline = self._deadline(timeout_s)
        found = []
        for batch in batches(images):
            found += self._send(self._codec.classify_with_exits(self._target, batch), deadline)
        return found

    def find_joints(
        self,
        images: Sequence[Picture],
        boxes: Sequence[Sequence[float]] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> list[list[Joint]]:
        """Predicts the joints of the person that fills each picture, or a box in it.

        Args:
          images: paths or contents of picture files.
          boxes: one box for each picture: (y1, x1, y2, x2) in pixels of the picture. Repeat a
            picture that shows several persons.
          timeout_s: time limit for each batch in seconds; by default the client's.

        Returns:
          For each picture its joints, in pixels of the picture.

        Raises:
          RequestError: see the class; also if the model does not predict joints.
          ValueError: a file cannot be read or is empty, or the number of boxes differs.
        """
        found = []
        for call in _joint_calls(images, boxes):
            found += self._joints(self.predict(**call, timeout_s=timeout_s), _count(call))
        return found

    def predict(
        self,
        inputs: Mapping[str, Any],
        *,
        signature_name: str = signatures.SERVING_DEFAULT,
        output_filter: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs a signature of the model.

        Args:
          inputs: values by name; arrays are sent in their own type, bytes and strings as strings.
          signature_name: name of the signature.
          output_filter: names of the outputs to return; all by default.
          timeout_s: time limit of the whole call in seconds; by default the client's.

        Returns:
          The outputs by name; strings as object arrays of bytes.

        Raises:
          RequestError: see the class.
          ValueError: an input is not a tensor.
        """
        deadline = self._deadline(timeout_s)
        arrays = {name: as_array(value, name) for name, value in inputs.items()}
        if self._is_rest and self._metadata is None:
            self._metadata = self._send(self._codec.metadata(self._target), deadline)
        return self._send(self._predict_call(arrays, signature_name, output_filter), deadline)

    def model_status(self, *, timeout_s: float | None = None) -> list[VersionStatus]:
        """Returns the states of the model's versions, or of the one that the client uses.

        Raises:
          RequestError: see the class; also if the client's label does not exist, or its version is
            not served.
        """
        deadline, target = self._deadline(timeout_s), self._target
        if target.label is not None:  # which servers ignore when they are asked for states
            found = self._send(self._codec.metadata(target), deadline)
            target = Target(target.model, found.version)
        return self._send(self._codec.model_status(target), deadline)

    def metadata(self, *, timeout_s: float | None = None) -> Metadata:
        """Returns the model's signatures."""
        return self._send(self._codec.metadata(self._target), self._deadline(timeout_s))

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _send(self, call: Call[_Result], deadline: Deadline) -> _Result:
        attempts = self._attempts(deadline)
        while True:
            try:
                return call.parse(self._transport.send(call.path, call.body, attempts.begin()))
            except ReplyError as error:
                raise self._failure(error, attempts) from error
            except TransportError as error:
                pause = attempts.pause_after(error)
                if pause is None:
                    raise self._failure(error, attempts) from error
            time.sleep(pause)


class AsyncClient(_Base):
    """The same calls as in `Client`, to be awaited on one event loop of asyncio.

    async with AsyncClient("http://localhost:8501", "levit256") as client:
        predictions = await client.classify(["cat.jpg"])
    """

    def __init__(self, server: str, model: str = DEFAULT_MODEL, **options: Any):
        super().__init__(server, model, **options)
        kind = transports.AsyncRestTransport if self._is_rest else transports.AsyncGrpcTransport
        self._transport = kind(server.rstrip("/"), options.get("tls"))

    async def classify(
        self, images: Sequence[Picture], *, timeout_s: float | None = None
    ) -> list[list[Prediction]]:
        """See `Client.classify`."""
        deadline = self._deadline(timeout_s)
        found = []
        for batch in batches(images):
            found += await self._send(self._codec.classify(self._target, batch), deadline)
        return found

    async def find_joints(
        self,
        images: Sequence[Picture],
        boxes: Sequence[Sequence[float]] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> list[list[Joint]]:
        """See `Client.find_joints`."""
        found = []
        for call in _joint_calls(images, boxes):
            found += self._joints(await self.predict(**call, timeout_s=timeout_s), _count(call))
        return found

    async def predict(
        self,
        inputs: Mapping[str, Any],
        *,
        signature_name: str = signatures.SERVING_DEFAULT,
        output_filter: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> dict[str, np.ndarray]:
        """See `Client.predict`."""
        deadline = self._deadline(timeout_s)
        arrays = {name: as_array(value, name) for name, value in inputs.items()}
        if self._is_rest and self._metadata is None:
            self._metadata = await self._send(self._codec.metadata(self._target), deadline)
        return await self._send(self._predict_call(arrays, signature_name, output_filter), deadline)

    async def model_status(self, *, timeout_s: float | None = None) -> list[VersionStatus]:
        """See `Client.model_status`."""
        deadline, target = self._deadline(timeout_s), self._target
        if target.label is not None:
            found = await self._send(self._codec.metadata(target), deadline)
            target = Target(target.model, found.version)
        return await self._send(self._codec.model_status(target), deadline)

    async def metadata(self, *, timeout_s: float | None = None) -> Metadata:
        """See `Client.metadata`."""
        return await self._send(self._codec.metadata(self._target), self._deadline(timeout_s))

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def _send(self, call: Call[_Result], deadline: Deadline) -> _Result:
        attempts = self._attempts(deadline)
        while True:
            try:
                reply = await self._transport.send(call.path, call.body, attempts.begin())
                return call.parse(reply)
            except ReplyError as error:
                raise self._failure(error, attempts) from error
            except TransportError as error:
                pause = attempts.pause_after(error)
                if pause is None:
                    raise self._failure(error, attempts) from error
            await asyncio.sleep(pause)


def is_rest(server: str) -> bool:
    """Whether an address is for REST rather than gRPC.

    Raises:
      ValueError: it is for neither.
    """
    if re.match(r"https?://[^/]", server):
        return True
    if "://" in server and not re.match(r"(dns|unix|ipv4|ipv6|xds):", server):
        raise ValueError(f"{server}: expected HOST:PORT for gRPC, or http://HOST:PORT for REST.")
    if not re.fullmatch(r"(unix|dns|ipv4|ipv6|xds):.+|.+:\d+", server):
        raise ValueError(f"{server}: the port is missing; TensorFlow Serving's are 8500 and 8501.")
    return False


def _joint_calls(
    images: Sequence[Picture], boxes: Sequence[Sequence[float]] | None
) -> Iterator[dict[str, Any]]:
    """Yields the arguments of `predict`, one batch at a time."""
    if boxes is not None and len(boxes) != len(images):
        raise ValueError(
            f"find_joints takes a box for each picture. Received: {len(boxes)} boxes for "
            f"{len(images)} pictures"
        )
    first = 0
    for batch in batches(images):
        inputs = {signatures.IMAGE_BYTES: batch}
        name = signatures.SERVING_DEFAULT
        if boxes is not None:
            name = signatures.BOXES
            inputs[name] = np.asarray(boxes[first : first + len(batch)], np.float32)
        yield {"inputs": inputs, "signature_name": name}
        first += len(batch)


def _count(call: Mapping[str, Any]) -> int:
    return len(call["inputs"][signatures.IMAGE_BYTES])
