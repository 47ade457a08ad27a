"""Adds a `model.tflite` to a version, which TensorFlow Serving uses with --prefer_tflite_model.

TF Serving reads signatures from an entry of the file's metadata: a FlexBuffers map from names to
SignatureDefs. Without this entry, it makes up a signature from the names of the tensors.

Source: saved_model_bundle_factory.cc and tflite_session.cc of TensorFlow Serving.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
from tensorflow.core.framework.types_pb2 import DT_FLOAT
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo

from converters.tflite.conversion import to_tflite
from converters.tflite.tflite_graph import Graph
from serving.signatures import IMAGE_TENSOR, IMAGES, PREDICT_METHOD, TFLITE_MODEL

_ENTRY = "signature_defs_metadata"


def write_tflite_model(
    version: str | os.PathLike,
    model: keras.Model,
    class_names: Sequence[str],
    input_range: str | None = None,
) -> None:
    """Writes a float32 TFLite file into a version.

    The file has only the signature `image_tensor`, for one picture at a time, with the outputs
    `logits` and `probabilities`, or `keypoints`, since TFLite can neither decode pictures nor
    gather strings.

    Args:
      version: folder of the version.
      model: see `converters.deploy.deploy_graph`.
      class_names: names in the order of the outputs, or of the joints.
      input_range: see `converters.deploy.deploy_graph`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, TFLITE_MODEL)
        to_tflite(model, path, outputs="both", class_names=class_names, input_range=input_range)
        graph = Graph(path.read_bytes())
    signature = SignatureDef(method_name=PREDICT_METHOD)
    _describe(signature.inputs[IMAGES], graph, graph.inputs()[0])
    for output, tensor in zip(graph.signature_outputs(), graph.outputs(), strict=True):
        _describe(signature.outputs[output], graph, tensor)
    graph.set_metadata(_ENTRY, _map_of_strings({IMAGE_TENSOR: signature.SerializeToString()}))
    Path(version, TFLITE_MODEL).write_bytes(graph.content())


def _describe(info: TensorInfo, graph: Graph, tensor: str) -> None:
    info.name, info.dtype = tensor, DT_FLOAT
    for side in graph.tensors[tensor].shape:
        info.tensor_shape.dim.add(size=int(side))


def _map_of_strings(values: dict[str, bytes]) -> bytes:
    from flatbuffers import flexbuffers

    builder = flexbuffers.Builder()
    with builder.Map():
        for key, value in values.items():
            builder.Key(key)
            builder.String(_Bytes(value))
    return bytes(builder.Finish())


class _Bytes(bytes):
    """Bytes that the Python writer accepts as text; C++ keeps any bytes in strings."""

    def encode(self, encoding: str) -> bytes:
        del encoding
        return self
