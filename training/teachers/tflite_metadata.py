"""Reads from TFLite metadata how the images of a file are normalised.

The numbers of the fields are those of metadata_schema.fbs of TensorFlow Lite Support.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from levit_tf.preprocessing import InputRange

_ENTRY = b"TFLITE_METADATA"
_SUBGRAPHS, _INPUTS, _PROCESS_UNITS = 3, 2, 4
_OPTIONS_TYPE, _OPTIONS, _NORMALIZATION = 0, 1, 1
_MEAN, _STD = 0, 1


def noted_range(path: Path) -> InputRange | None:
    """Returns the range of a file's first input after its NormalizationOptions.

    Args:
      path: a TFLite file that has been checked.

    Returns:
      The range; None if the file has no such metadata, or if they are damaged.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    try:
        entries = [model.Metadata(number) for number in range(model.MetadataLength())]
        found = next((entry for entry in entries if entry.Name() == _ENTRY), None)
        return found and _range_in(model.Buffers(found.Buffer()).DataAsNumpy().tobytes())
    except Exception:  # damaged ones raise many types; then the user has to say the range
        return None


def _range_in(metadata: bytes) -> InputRange | None:
    from flatbuffers import encode, packer, table

    root = table.Table(metadata, encode.Get(packer.uoffset, metadata, 0))
    image = _tables(_tables(root, _SUBGRAPHS)[0], _INPUTS)[0]
    for unit in _tables(image, _PROCESS_UNITS):
        if metadata[unit.Pos + unit.Offset(_slot(_OPTIONS_TYPE))] == _NORMALIZATION:
            options = table.Table(metadata, 0)
            unit.Union(options, unit.Offset(_slot(_OPTIONS)))
            mean, std = (_floats(options, field) / 255 for field in (_MEAN, _STD))
            values = np.broadcast_arrays(mean, std)  # one number is that of all channels
            return InputRange(*(tuple(map(float, value)) for value in values))
    return None


def _slot(field: int) -> int:
    return 4 + 2 * field


def _tables(parent, field: int) -> list:
    offset = parent.Offset(_slot(field))
    if not offset:
        return []
    start = parent.Vector(offset)
    places = range(start, start + 4 * parent.VectorLen(offset), 4)
    return [type(parent)(parent.Bytes, parent.Indirect(place)) for place in places]


def _floats(parent, field: int) -> np.ndarray:
    offset = parent.Offset(_slot(field))
    start, count = parent.Vector(offset), parent.VectorLen(offset)
    return np.frombuffer(parent.Bytes, "<f4", count, start).astype(np.float64)
