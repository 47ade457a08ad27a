"""The model card of a network: README.md of its repository."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Sequence

import levit_tf
from converters.hub.pictures import LabelledPictures
from converters.reporting.file_figures import FileFigures
from levit_common.arrays import standard_error
from levit_common.markdown import markdown_table
from levit_tf.keras_graph.properties import ModelProperties
from levit_tf.variants import Variant

_SHOWN_NAMES = 10
_PIXELS = {1: "brightness", 3: "RGB"}  # by number of channels
_PAPER = "https://arxiv.org/abs/2104.01136"


def model_card(
    name: str,
    variant: Variant,
    properties: ModelProperties,
    flavour: str,
    figures: Sequence[FileFigures],
    pictures: LabelledPictures,
    license_name: str,
    parameters: int,
    distilled: bool,
) -> str:
    """Returns the text of README.md: description, usage and measured figures of the network.

    Args:
      name: name of the repository, "owner/name", or of the folder.
      variant: variant of the network.
      properties: properties that the network notes.
      flavour: "timm" or "hf".
      figures: figures of its files, the Keras model first.
      pictures: the pictures on which they were measured.
      license_name: license identifier on the hub.
      parameters: number of parameters.
      distilled: whether there are two heads.
    """
    single = "" if distilled else ', heads="single"'
    library = "timm" if flavour == "timm" else "transformers"
    height, width = properties.input_size
    head = {
        "license": license_name,
        "library_name": library,
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "levit", "keras", "tflite", library],
    }
    # JSON is also valid YAML, and quotes any repository name unambiguously.
    front = "\n".join(f"{key}: {json.dumps(value)}" for key, value in head.items())
    names = properties.class_names or ()
    shown = ", ".join(names[:_SHOWN_NAMES])
    if len(names) > _SHOWN_NAMES:
        shown += f" and {len(names) - _SHOWN_NAMES} more"
    rows = [["file", "size, kB", "top-1, %", "agreement with Keras, %", "ms per picture"]]
    rows += [
        [
            found.name,
            f"{found.bytes / 1e3:,.0f}",
            _top1_text(found, len(pictures.images)),
            f"{100 * found.agreement:.2f}",
            f"{found.ms_per_image:.2f}",
        ]
        for found in figures
    ]
    pixels = _PIXELS.get(properties.channels, f"{properties.channels} channels")
    plain = " and ".join(f"`{found.name}`" for found in figures if found.name.endswith(".tflite"))
    today = datetime.date.today().isoformat()
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    return f"""---
{front}
---

# {name}

{variant.name}, a [LeViT]({_PAPER}) of {parameters / 1e6:.1f} million parameters for pictures of
{height}x{width} pixels{f" and {len(names)} classes: {shown}" if names else ""}.

Weights: {properties.origin or "of unknown origin"}. The input is {pixels},
{properties.input_range}; that of {plain} is plain {pixels} 0..255, with the class names inside.

## Measured

On {pictures.text}, {machine}, {today}, levit_tf {levit_tf.__version__}, by
`python -m converters.to_hub`:

{markdown_table(rows, right=(1, 2, 3, 4))}

## Use

```python
import levit_tf

model = levit_tf.LeViT("{variant.name}", weights="hf://{name}"{single})
```

{_library_example(name, library)}

```sh
python -m serving.edge --model=model.tflite photo.jpg   # numpy, Pillow and LiteRT alone
```
"""


def _top1_text(figures: FileFigures, count: int) -> str:
    """Formats top-1 with its standard error in percent; a dash if it is not known."""
    if figures.top1 is None:
        return "-"
    return f"{100 * figures.top1:.2f} ± {100 * standard_error(figures.top1, count):.2f}"


def _library_example(name: str, library: str) -> str:
    if library == "timm":
        return f"""```python
import timm

model = timm.create_model("hf-hub:{name}", pretrained=True)
```"""
    return f"""```python
from transformers import pipeline

classify = pipeline("image-classification", model="{name}")
```"""
