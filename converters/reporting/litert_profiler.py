"""Measures the times of the ops of a TFLite file with LiteRT's internal profiler.

LiteRT's Python interface does not provide the profiler, and its Python benchmark only times whole
runs. So the profiler is called through the C interface of the library in the same package. It
returns the kernels that ran, in their order: XNNPACK's kernels inside a delegate's partition, and
the ops that no delegate runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import importlib.metadata
import importlib.resources
import os
import time
from typing import NamedTuple

import numpy as np

from levit_common.quiet import held_stderr

# The only tested version: the declarations below must match the headers of its C interface.
LITERT_VERSION = "2.3"

# Values of enumerations in litert/c.
_CPU = 1
_LOCK_FOR_WRITING = 1
_OP, _KERNEL = 2, 8
_ELEMENT_TYPES = {
    "float32": 1,
    "int32": 2,
    "uint8": 3,
    "int64": 4,
    "bool": 6,
    "int16": 7,
    "int8": 9,
    "float16": 10,
}

_MAXIMUM_RANK = 8
_WARM_UP_RUNS = 3
_SEED = 0


@dataclasses.dataclass(frozen=True)
class KernelTime:
    """One kernel of an inference.

    Attributes:
      name: XNNPACK's name of the kernel, such as "Convolution (NHWC, F32) IGEMM", or the op's name.
      op: index of the op in the file; None for a kernel inside a partition.
      position: index of a kernel inside its partition, from 0.
      milliseconds: median over the runs.
    """

    name: str
    op: int | None
    position: int | None
    milliseconds: float


def profile(
    path: str | os.PathLike,
    inputs: list[tuple[tuple[int, ...], np.dtype]],
    outputs: list[tuple[tuple[int, ...], np.dtype]],
    *,
    threads: int = 1,
    runs: int = 50,
) -> tuple[list[KernelTime], float]:
    """Runs a file on noise and times every kernel.

    Args:
      path: a `.tflite` file with one signature.
      inputs: (shape, type) of each input.
      outputs: (shape, type) of each output.
      threads: number of CPU threads.
      runs: number of timed inferences, after a few warm-up runs.

    Returns:
      The kernels in the order in which they ran, and the median time of a whole inference in
      milliseconds. LiteRT counts whole microseconds per kernel, rounded down.

    Raises:
      ImportError: ai-edge-litert is of another version than `LITERT_VERSION`.
      ValueError: LiteRT cannot compile or run the file.
    """
    with held_stderr(), contextlib.ExitStack() as stack:
        model = _Model(_library(), stack, os.fspath(path), threads)
        model.allocate(inputs, outputs)
        for _ in range(_WARM_UP_RUNS):
            model.run()
        whole = [_milliseconds(model.run) for _ in range(runs)]
        events = [model.profiled_run() for _ in range(runs)]
    kernels = [[event for event in run if event.kind in (_OP, _KERNEL)] for run in events]
    microseconds = np.median([[event.microseconds for event in run] for run in kernels], axis=0)
    return [
        KernelTime(
            name=event.name,
            op=event.index if event.kind == _OP else None,
            position=event.index if event.kind == _KERNEL else None,
            milliseconds=float(time_us) / 1000,
        )
        for event, time_us in zip(kernels[0], microseconds, strict=True)
    ], float(np.median(whole))


def _milliseconds(run) -> float:
    start = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - start)


def _library() -> ctypes.CDLL:
    try:
        version = importlib.metadata.version("ai-edge-litert")
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError(
            'Times of ops need LiteRT, which is missing: pip install "levit_tf[tflite]"'
        ) from error
    if not version.startswith(f"{LITERT_VERSION}."):
        raise ImportError(
            f"Times of ops need ai-edge-litert {LITERT_VERSION}: only its C interface is known. "
            f'Found {version}: pip install "ai-edge-litert=={LITERT_VERSION}.*"'
        )
    package = importlib.resources.files("ai_edge_litert")
    return ctypes.CDLL(str(package.joinpath("libLiteRt.so")))


class _TensorType(ctypes.Structure):
    """LiteRtRankedTensorType; `rank` is the lowest seven bits, the eighth tells of strides."""

    _fields_ = (
        ("element_type", ctypes.c_int),
        ("rank", ctypes.c_uint),
        ("dimensions", ctypes.c_int32 * _MAXIMUM_RANK),
        ("strides", ctypes.c_uint32 * _MAXIMUM_RANK),
    )


class _Event(NamedTuple):
    name: str
    kind: int
    microseconds: int
    index: int


class _EventData(ctypes.Structure):
    """ProfiledEventData."""

    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_size_t * 6),
        ("index", ctypes.c_uint64),
        ("more", ctypes.c_uint64),
        ("source", ctypes.c_int),
    )


class _Model:
    """A compiled model and its buffers; `stack` releases everything that is created here."""

    def __init__(self, library, stack: contextlib.ExitStack, path: str, threads: int):
        self._library, self._stack, self._path = library, stack, path
        self._environment = self._make("Environment", ctypes.c_int(0), None)
        model = self._make("Model", self._environment, path.encode(), how="FromFile")
        options = self._make("Options")
        self._call("SetOptionsHardwareAccelerators", options, ctypes.c_int(_CPU))
        self._configure(options, b"runtime_options_string", b"enable_profiling = true\n")
        self._configure(options, b"xnnpack", f"num_threads = {threads}\n".encode())
        self._model = self._make("CompiledModel", self._environment, model, options)
        self._profiler = self._get("CompiledModelGetProfiler", self._model)
        self._inputs = self._outputs = None

    def allocate(self, inputs, outputs) -> None:
        """Creates the buffers, with noise in the inputs."""
        self._inputs = [self._buffer("Input", n, *tensor) for n, tensor in enumerate(inputs)]
        self._outputs = [self._buffer("Output", n, *tensor) for n, tensor in enumerate(outputs)]
        rng = np.random.default_rng(_SEED)
        for buffer, (shape, dtype) in zip(self._inputs, inputs, strict=True):
            noise = rng.integers(0, 128, shape).astype(dtype)
            address = self._get(
                "LockTensorBuffer", buffer, after=(ctypes.c_int(_LOCK_FOR_WRITING),)
            )
            ctypes.memmove(address, noise.ctypes.data, noise.nbytes)
            self._call("UnlockTensorBuffer", buffer)

    def run(self) -> None:
        arrays = [
            (ctypes.c_void_p * len(buffers))(*(buffer.value for buffer in buffers))
            for buffers in (self._inputs, self._outputs)
        ]
        sizes = [ctypes.c_size_t(len(array)) for array in arrays]
        self._call(
            "RunCompiledModel",
            self._model,
            ctypes.c_size_t(0),  # the first signature
            sizes[0],
            arrays[0],
            sizes[1],
            arrays[1],
        )

    def profiled_run(self) -> list[_Event]:
        """Runs one inference and returns all of its events."""
        self._call("ResetProfiler", self._profiler)
        self._call("StartProfiler", self._profiler)
        self.run()
        self._call("StopProfiler", self._profiler)
        count = ctypes.c_int()
        self._call("GetNumProfilerEvents", self._profiler, ctypes.byref(count))
        events = (_EventData * count.value)()
        self._call("GetProfilerEvents", self._profiler, count, events)
        return [_Event(e.tag.decode(), e.type, e.elapsed_us, e.index) for e in events]

    def _buffer(self, kind: str, index: int, shape, dtype) -> ctypes.c_void_p:
        requirements = self._get(
            f"GetCompiledModel{kind}BufferRequirements",
            self._model,
            ctypes.c_size_t(0),
            ctypes.c_size_t(index),
        )
        name = np.dtype(dtype).name
        if name not in _ELEMENT_TYPES:
            raise ValueError(
                f"{self._path}: has an {kind.lower()} of type {name}, which cannot be timed. "
                f"Expected {', '.join(_ELEMENT_TYPES)}."
            )
        tensor = _TensorType(_ELEMENT_TYPES[name], len(shape))
        tensor.dimensions[: len(shape)] = [int(side) for side in shape]
        buffer = self._get(
            "CreateManagedTensorBufferFromRequirements",
            self._environment,
            ctypes.byref(tensor),
            requirements,
        )
        self._stack.callback(self._library.LiteRtDestroyTensorBuffer, buffer)
        return buffer

    def _configure(self, options, identifier: bytes, text: bytes) -> None:
        c = ctypes.CDLL(None)
        c.strdup.restype, c.strdup.argtypes = ctypes.c_void_p, (ctypes.c_char_p,)
        release = ctypes.cast(c.free, ctypes.c_void_p)
        payload = ctypes.c_void_p(c.strdup(text))
        opaque = self._get("CreateOpaqueOptions", identifier, payload, release)
        self._call("AddOpaqueOptions", options, opaque)  # `options` owns `opaque` from now on

    def _make(self, what: str, *arguments, how: str = "") -> ctypes.c_void_p:
        made = self._get(f"Create{what}{how}", *arguments)
        self._stack.callback(getattr(self._library, f"LiteRtDestroy{what}"), made)
        return made

    def _get(self, name: str, *arguments, after=()) -> ctypes.c_void_p:
        """Calls a function that writes a pointer to its last argument before those of `after`."""
        result = ctypes.c_void_p()
        self._call(name, *arguments, ctypes.byref(result), *after)
        return result

    def _call(self, name: str, *arguments) -> None:
        status = getattr(self._library, f"LiteRt{name}")(*arguments)
        if status != 0:
            raise ValueError(f"{self._path}: LiteRt{name} failed with status {status}.")
