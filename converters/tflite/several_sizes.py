"""Writes a TFLite file for pictures of several sizes: one signature per size, shared weights.

TFLite plans its memory for fixed shapes, so each size has its own graph. Nearly all constants of
these graphs have the same bytes, and the file stores such constants only once.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from converters.tflite.conversion import to_tflite
from converters.tflite.metadata import packed_labels, with_labels
from converters.tflite.tflite_files import sha256
from converters.tflite.tflite_graph import Graph
from levit_common.files import atomic_path, check_suffix
from levit_common.json_files import write_json
from levit_common.shipped_names import INPUT, SIGNATURE
from levit_tf.sizes import with_input_size

Size = tuple[int, int]


def to_tflite_of_sizes(
    model: keras.Model,
    path: str | os.PathLike,
    sizes: Sequence[Size],
    *,
    calibration_images: Callable[[Size], np.ndarray] | None = None,
    overwrite: bool = False,
    **options,
) -> dict[str, Any]:
    """Writes a LeViT as a TFLite file for pictures of several sizes, and a JSON about it.

    Args:
      model: a LeViT in train form, or a model that contains one, for one input size or for all; see
        `levit_tf.with_input_size`.
      path: the file to write, ending in .tflite.
      sizes: (height, width) in pixels. The first has the default signature, which all tools read;
        the signatures of the others also contain the size, see `signature_of`.
      calibration_images: function that loads pictures for a size, if the recipe needs them.
      overwrite: whether an existing `path` is replaced.
      **options: other arguments of `converters.tflite.conversion.to_tflite`.

    Returns:
      The content of the JSON: that for the first size, and "signatures" of all sizes.

    Raises:
      ValueError: a size is given twice; or an error of `to_tflite` or `with_input_size`, which
        check each size separately. Then nothing is written.
    """
    path = Path(path)
    check_suffix(path, ".tflite")
    if not sizes or len(set(sizes)) < len(sizes):
        raise ValueError(f"Expected sizes that differ, at least one. Received: {sizes}")
    with atomic_path(path, overwrite) as temporary, tempfile.TemporaryDirectory() as folder:
        contents, reports, found = [], [], {}
        for height, width in sizes:
            images = calibration_images and calibration_images((height, width))
            part = Path(folder, f"{height}x{width}.tflite")
            sized = with_input_size(model, (height, width))
            about = to_tflite(sized, part, calibration_images=images, **options)
            contents.append(part.read_bytes())
            found[signature_of((height, width), sizes)] = {
                "input_size": [height, width],
                "compared_with_keras": about["compared_with_keras"],
            }
            reports.append(about)
        joined = join(contents, list(found))
        labels = packed_labels(contents[0])
        Path(temporary).write_bytes(joined if labels is None else with_labels(joined, labels))
        _check_joined(temporary, contents, list(found))
        about = {
            **reports[0],
            "bytes": Path(temporary).stat().st_size,
            "sha256": sha256(temporary),
            "signatures": found,
        }
        write_json(f"{path}.json", about)
        return about


def signature_of(size: Size, sizes: Sequence[Size]) -> str:
    """Returns the name of the signature for a size, in a file for these sizes."""
    return SIGNATURE if size == sizes[0] else f"{SIGNATURE}_{size[0]}x{size[1]}"


def join(contents: Sequence[bytes], signatures: Sequence[str]) -> bytes:
    """Joins the graphs of several TFLite files into one file.

    Args:
      contents: files with one graph and one signature each; the metadata of the first is used.
      signatures: names of their signatures in the joint file.

    Returns:
      The file, in which constants with the same bytes are stored once.
    """
    graphs = [Graph(content) for content in contents]
    main = graphs[0].model
    known = {_digest(buffer): n for n, buffer in enumerate(main.buffers)}
    for number, (graph, name) in enumerate(zip(graphs, signatures, strict=True)):
        (signature,) = graph.model.signatureDefs
        signature.signatureKey, signature.subgraphIndex = name.encode(), number
        if not number:
            continue
        (part,) = graph.model.subgraphs
        for tensor in part.tensors:
            buffer = graph.model.buffers[tensor.buffer]
            if _digest(buffer) not in known:
                known[_digest(buffer)] = len(main.buffers)
                main.buffers.append(buffer)
            tensor.buffer = known[_digest(buffer)]
        for operator in part.operators:
            code = graph.model.operatorCodes[operator.opcodeIndex]
            operator.opcodeIndex = len(main.operatorCodes)
            same = [
                n
                for n, other in enumerate(main.operatorCodes)
                if (other.builtinCode, other.version) == (code.builtinCode, code.version)
            ]
            if same:
                operator.opcodeIndex = same[0]
            else:
                main.operatorCodes.append(code)
        main.subgraphs.append(part)
        main.signatureDefs.append(signature)
    return graphs[0].content()


def _digest(buffer) -> bytes | None:
    """Returns a digest of a constant; None for the empty buffer of other tensors."""
    if buffer.data is None or not len(buffer.data):
        return None
    return hashlib.sha256(memoryview(np.asarray(buffer.data, np.uint8))).digest()


def _check_joined(path: str | os.PathLike, contents: Sequence[bytes], names: Sequence[str]) -> None:
    """Raises ValueError if a signature's outputs are not bit-identical to the original file's."""
    from ai_edge_litert.interpreter import Interpreter

    joined = Interpreter(model_path=os.fspath(path))
    for content, name in zip(contents, names, strict=True):
        alone = Interpreter(model_content=content).get_signature_runner(SIGNATURE)
        detail = alone.get_input_details()[INPUT]
        random = np.random.default_rng(0).uniform(0, 255, detail["shape"])
        lowest = 128 if detail["dtype"] == np.int8 else 0
        images = {INPUT: (random - lowest).astype(detail["dtype"])}
        expected, found = alone(**images), joined.get_signature_runner(name)(**images)
        if any(not np.array_equal(found[key], expected[key]) for key in expected):
            raise ValueError(
                f"{path}: not written: its signature {name} answers otherwise than the file for "
                "that size alone."
            )
