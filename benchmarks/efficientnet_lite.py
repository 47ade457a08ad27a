"""Writes an EfficientNet-Lite of `converters` as TFLite for the classes of a folder of pictures.

    python -m converters.from_pytorch_efficientnet_lite --checkpoint=….pth --output=lite0.keras
    python -m benchmarks.efficientnet_lite --model=lite0.keras --data=FOLDER --output=DIR

DIR gets fp32.tflite and int8.tflite, made by TFLite's own converter and quantiser (the latter with
the folder's training pictures), of a network that takes pixels, normalises them and answers with
the probabilities of the folder's classes, which are found among ImageNet's by name. They are for
`training.evaluate --beside`. The network was trained on ImageNet; where the folder's pictures are
from there, it has seen them.
"""

from __future__ import annotations

from pathlib import Path

import keras
from absl import flags

from benchmarks.networks.published import write_files
from converters.tflite.calibration import calibration_images
from converters.tflite.metadata import with_labels
from converters.tflite.tflite_graph import Graph
from levit_common import cli
from levit_common.shipped_names import INPUT, PROBABILITIES
from levit_tf.pictures.folder_layout import class_folders, learning_part
from levit_tf.teachers.efficientnet_lite import TAKES
from levit_tf.weights.keras_files import load_keras_file
from training.teachers.classes import class_map

FILES = ("fp32.tflite", "int8.tflite")


def for_classes(model: keras.Model, members: list[int]) -> keras.Model:
    """Makes a network that takes pixels and returns the probabilities of some classes.

    Args:
      model: takes normalised pictures and returns logits.
      members: its index of each class.
    """
    images = keras.Input(model.input_shape[1:], name=INPUT)
    scales = [1 / (255 * one) for one in TAKES.std]
    offsets = [-mean / std for mean, std in zip(TAKES.mean, TAKES.std, strict=True)]
    logits = model(keras.layers.Rescaling(scales, offsets)(images))
    chosen = keras.ops.take(logits, members, axis=-1)
    return keras.Model(images, keras.layers.Softmax(name=PROBABILITIES)(chosen), name=model.name)


def main() -> None:
    args = flags.FLAGS
    model, folder = load_keras_file(args.model), Path(args.output)
    names = class_folders(learning_part(args.data))
    found, _ = class_map([[name] for name in names], model.output_shape[-1])
    folder.mkdir(parents=True, exist_ok=True)
    images = calibration_images(f"imagefolder:{args.data}", model.input_shape[1:3])
    write_files(for_classes(model, [one for (one,) in found.members]), folder, FILES, images)
    for file in FILES:
        path = folder / file
        graph = Graph(path.read_bytes())
        signature = graph.model.signatureDefs[0]
        signature.inputs[0].name, signature.outputs[0].name = INPUT, PROBABILITIES
        path.write_bytes(with_labels(graph.content(), names))
        print(f"written: {path}")


def define_flags() -> None:
    flags.DEFINE_string("model", None, "EfficientNet-Lite of 1000 classes, .keras.")
    flags.DEFINE_string("data", None, "Folder of pictures, with a training part.")
    flags.DEFINE_string("output", None, "Folder to write to.")
    flags.mark_flags_as_required(["model", "data", "output"])


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
