"""TFLite metadata, which describes input and outputs for MediaPipe and Android Studio.

It follows the published schema, metadata_schema.fbs of TensorFlow Lite Support; the numbers below
are from this schema. Packages with classes for it cannot be used: MediaPipe needs an absl-py that
is too new for quantisation-aware training, and tflite-support a protobuf too old for TensorFlow.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from converters.tflite.tflite_graph import Graph
from levit_common.shipped_names import EXIT, INPUT, LOGITS, PROBABILITIES
from levit_lite.class_names import LABELS_FILE

ENTRY = "TFLITE_METADATA"
_IDENTIFIER = b"M001"
_PARSER_VERSION = "1.0.0"  # of the oldest parsers that support all these fields
_ARCHIVE_DATE = (1980, 1, 1, 0, 0, 0)  # fixed, so that files do not depend on the time

_COLOR_SPACES = {3: np.uint8(1), 1: np.uint8(2)}  # number of channels -> RGB or greyscale
_IMAGE_PROPERTIES = np.uint8(2)
_NORMALIZATION_OPTIONS = np.uint8(1)
_TENSOR_AXIS_LABELS = np.uint8(2)

_DESCRIPTIONS = {
    INPUT: "Picture, values 0..255, which the network normalises itself.",
    PROBABILITIES: "Probability of each class.",
    LOGITS: "Logit of each class; softmax turns them into probabilities.",
    EXIT: "Number of the step that answered, from 0.",
}


def with_metadata(
    graph: Graph, *, name: str, description: str, class_names: Sequence[str] | None
) -> bytes:
    """Adds metadata about input and outputs, and the class names, to a TFLite file.

    Args:
      graph: graph with the signature of `levit_common.shipped_names`. It is changed.
      name: name of the model.
      description: description of the model.
      class_names: class names in the order of an output's values, each of one line; they apply to
        every output with the same number of values. None if the model is not a classifier.

    Returns:
      The content of the file. As the format requires, the labels are in a zip archive at its end.
    """
    _, height, width, channels = graph.tensors[graph.inputs()[0]].shape
    outputs = zip(graph.signature_outputs(), graph.outputs(), strict=True)
    graph.set_metadata(
        ENTRY,
        _flatbuffer(
            {
                0: name,
                1: description,
                3: [
                    {
                        2: [_input_metadata(height, width, channels)],
                        3: [
                            _output_metadata(
                                output,
                                bool(class_names)
                                and graph.tensors[tensor].shape[-1] == len(class_names),
                            )
                            for output, tensor in outputs
                        ],
                    }
                ],
                7: _PARSER_VERSION,
            }
        ),
    )
    content = graph.content()
    return with_labels(content, class_names) if class_names else content


def with_labels(content: bytes, class_names: Sequence[str]) -> bytes:
    """Appends class names to a TFLite file."""
    return _with_archive(content, LABELS_FILE, "\n".join(class_names) + "\n")


def packed_labels(content: bytes) -> list[str] | None:
    """Returns the class names in a file written by `with_labels`; None if there are none."""
    archive = io.BytesIO(content)
    if not zipfile.is_zipfile(archive):
        return None
    with zipfile.ZipFile(archive) as reader:
        return reader.read(LABELS_FILE).decode("utf-8").rstrip("\n").split("\n")


# The following functions return tables of the schema: number of a field -> its value.


def _input_metadata(height: int, width: int, channels: int) -> dict[int, Any]:
    size = {0: np.uint32(width), 1: np.uint32(height)}
    if channels not in _COLOR_SPACES:  # the schema does not support such pictures
        return {0: INPUT, 1: f"Image of {channels} channels, values 0..255."}
    return {
        0: INPUT,
        1: _DESCRIPTIONS[INPUT],
        3: {0: _IMAGE_PROPERTIES, 1: {0: _COLOR_SPACES[channels], 1: size}},
        # (x - 0) / 1: MediaPipe can only normalise all channels equally, so the network does it.
        4: [{0: _NORMALIZATION_OPTIONS, 1: {0: np.float32([0]), 1: np.float32([1])}}],
        5: {0: np.float32([255]), 1: np.float32([0])},  # largest and smallest value
    }


def _output_metadata(output: str, has_labels: bool) -> dict[int, Any]:
    labels = {0: LABELS_FILE, 1: "Names of the classes.", 2: _TENSOR_AXIS_LABELS}
    table = {0: output, 1: _DESCRIPTIONS.get(output, "Output of the network.")}
    if has_labels:
        table[6] = [labels]
    if output == PROBABILITIES:
        table[5] = {0: np.float32([1]), 1: np.float32([0])}
    return table


def _flatbuffer(table: dict[int, Any]) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(_write(builder, table), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _write(builder, value: Any) -> int:
    """Writes a string, a float32 vector, a vector of tables, or a table; returns its offset."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value)
    if isinstance(value, list):
        offsets = [_write(builder, table) for table in value]
        builder.StartVector(4, len(offsets), 4)  # elements of 4 bytes
        for offset in reversed(offsets):  # a flatbuffer is written from its end
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()
    scalars = (np.uint8, np.uint32)
    written = {
        field: entry if isinstance(entry, scalars) else _write(builder, entry)
        for field, entry in value.items()
    }
    builder.StartObject(max(written) + 1)
    for field, entry in written.items():
        if isinstance(entry, np.uint8):
            builder.PrependUint8Slot(field, int(entry), 0)
        elif isinstance(entry, np.uint32):
            builder.PrependUint32Slot(field, int(entry), 0)
        else:
            builder.PrependUOffsetTRelativeSlot(field, entry, 0)
    return builder.EndObject()


def _with_archive(content: bytes, name: str, text: str) -> bytes:
    """Appends a zip archive with one uncompressed file, for readers that map it into memory."""
    archive = io.BytesIO(content)
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_STORED) as writer:
        writer.writestr(zipfile.ZipInfo(name, _ARCHIVE_DATE), text)
    return archive.getvalue()
