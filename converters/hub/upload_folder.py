"""Writes a folder for upload to the hub: PyTorch weights, Keras, TFLite, and a model card."""

from __future__ import annotations

import os
from pathlib import Path

import keras

from converters.choices import UPLOAD_FILES
from converters.hub.configs import timm_architecture, timm_config, transformers_configs
from converters.hub.model_card import model_card
from converters.hub.pictures import labelled_pictures
from converters.pytorch import from_keras
from converters.reporting.file_figures import measure_files
from converters.tflite.calibration import calibration_images
from converters.to_tflite import to_tflite
from levit_common.files import atomic_path
from levit_common.json_files import write_json
from levit_tf.applications import load_by_name
from levit_tf.keras_graph.introspection import classifier_of, variant_of
from levit_tf.keras_graph.properties import known_input_range, model_properties
from levit_tf.pictures.run_pictures import seen_in_training
from levit_tf.prediction.predictor import load_predictor
from levit_tf.sizes import fixed_size

CARD, CONFIG, KERAS = UPLOAD_FILES
FLOAT, INT8 = "model.tflite", "model-int8.tflite"
_PICTURES = 2000


def write_upload_folder(
    model: str | os.PathLike,
    output: str | os.PathLike,
    *,
    name: str,
    flavour: str | None = None,
    pictures: str | os.PathLike | None = None,
    calibration: str | None = None,
    license_name: str = "apache-2.0",
    overwrite: bool = False,
) -> str:
    """Writes the folder.

    Args:
      model: a LeViT in train form with a head, as in `levit_tf.applications.load_by_name`.
      output: the folder.
      name: name of the repository, "owner/name".
      flavour: "timm" or "hf" (transformers); by default timm if it has the variant.
      pictures: pictures on which figures are measured, see `pictures.labelled_pictures`.
      calibration: see `calibration_images`; if given, an int8 file is written too.
      license_name: license identifier on the hub.
      overwrite: whether an existing folder is replaced.

    Returns:
      The flavour, "timm" or "hf".

    Raises:
      FileNotFoundError, FileExistsError: there is no `model`, or `output` exists.
      ValueError: the flavour does not support the model, or it takes pictures of every size. Then
        nothing is written.
    """
    network = load_by_name(model, train_form=True)
    variant, flavour = variant_of(network), flavour or _flavour(network)
    if classifier_of(network) is None:
        raise ValueError(f"{model}: has no classification head, which the hub's formats need.")
    if flavour == "timm" and timm_architecture(variant) is None:
        raise ValueError(f"{model}: timm has no {variant.name}; --format=hf can describe it.")
    found = model_properties(network)
    input_range = known_input_range(network, None, str(model))
    size = (*fixed_size(network, str(model)), found.channels)
    heads = classifier_of(network).heads
    classes = classifier_of(network).classes
    with atomic_path(output, overwrite, UPLOAD_FILES, [model]) as temporary:
        folder = Path(temporary)
        folder.mkdir()
        network.save(folder / KERAS)
        names = load_predictor(folder / KERAS).class_names
        # What is wrong with the pictures is said before the conversions, which take a while.
        shown = labelled_pictures(
            pictures, names, found.input_size, _PICTURES, seen_in_training(model)
        )
        from_keras.convert(folder / KERAS, folder / "model.safetensors", flavour)
        described = (variant, size, classes, found.class_names, input_range)
        if flavour == "timm":
            write_json(folder / CONFIG, timm_config(*described, heads != "single"))
        else:
            config, preprocessor = transformers_configs(*described, heads != "single")
            write_json(folder / CONFIG, config)
            write_json(folder / "preprocessor_config.json", preprocessor)
        files = [KERAS, FLOAT]
        to_tflite(network, folder / FLOAT)
        if calibration is not None:
            images = calibration_images(calibration, size)
            to_tflite(network, folder / INT8, recipe="int8", calibration_images=images)
            files.append(INT8)
        # The card contains what these JSON files record.
        for about in folder.glob("*.tflite.json"):
            about.unlink()
        figures, _ = measure_files(folder, files, shown.images, shown.labels)
        card = model_card(
            name,
            variant,
            found,
            flavour,
            figures,
            shown,
            license_name,
            network.count_params(),
            heads != "single",
        )
        (folder / CARD).write_text(card, encoding="utf-8")
    return flavour


def _flavour(network: keras.Model) -> str:
    return "hf" if timm_architecture(variant_of(network)) is None else "timm"
