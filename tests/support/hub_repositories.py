"""What repositories of timm and of transformers hold, for a small LeViT."""

from __future__ import annotations

import json

import keras
from safetensors.numpy import save

from levit_tf.weights.pytorch_weights import to_state_dict


def timm_files(model: keras.Model, **config) -> dict[str, bytes]:
    """model.safetensors and config.json, as timm pushes them."""
    height, width = model.input_shape[1:3]
    described = {
        "architecture": "levit_128s",
        "num_classes": model.output_shape[-1],
        "pretrained_cfg": {
            "input_size": [3, height, width],
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        },
        **config,
    }
    return _files(model, "timm", described)


def transformers_files(model: keras.Model, preprocessor=None, **config) -> dict[str, bytes]:
    """model.safetensors, config.json and preprocessor_config.json, as transformers pushes them."""
    described = {
        "architectures": ["LevitForImageClassificationWithTeacher"],
        "model_type": "levit",
        "image_size": model.input_shape[1],
        **config,
    }
    files = _files(model, "hf", described)
    if preprocessor is not None:
        files["preprocessor_config.json"] = json.dumps(preprocessor).encode()
    return files


def _files(model, flavour, config):
    weights = save(to_state_dict(model, flavour), metadata={"format": "pt"})
    return {"model.safetensors": weights, "config.json": json.dumps(config).encode()}
