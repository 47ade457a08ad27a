"""Notes in a Keras graph: identity layers whose names store facts that the weights do not show.

What a model expects as input and what its outputs mean must survive `model.save()`, even where
levit_tf is not installed. Keras does not keep additional keys in the config of a functional model,
and a fused model has only built-in layers; but Keras does keep the graph and the layer names. So a
note is a `keras.layers.Identity`, named by its kind and its texts:

    input-mean-0_2e485-0_2e456-0_2e406-std-0_2e229-0_2e224-0_2e225
    classes-great_20white_20shark-tench

Letters and digits stand for themselves; `_` and two hexadecimal digits stand for any other byte of
the UTF-8 text; `-` separates texts. Such names are valid in TensorFlow graphs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import keras

INPUT = "input"
CLASSES = "classes"
ORIGIN = "origin"
KINDS = (INPUT, CLASSES, ORIGIN)

_ESCAPED = re.compile(r"_([0-9a-f]{2})")
_PLAIN = re.compile(r"[A-Za-z0-9]")


def note_layer(kind: str, texts: Sequence[str] = ()) -> keras.layers.Identity:
    """Returns a layer that passes on its input and stores `texts` in its name.

    Args:
      kind: one of `KINDS`.
      texts: any texts; () for a note that is still empty.
    """
    return keras.layers.Identity(name=_name(kind, texts))


def write_note(layer: keras.layers.Layer, texts: Sequence[str]) -> None:
    """Changes the texts of a note in place; they are stored by the next `save` of the model."""
    layer.name = _name(note_kind(layer), texts)


def note_kind(layer: object) -> str | None:
    """Returns the kind of a note; None for any other layer or operation."""
    if not isinstance(layer, keras.layers.Identity):
        return None
    kind = layer.name.split("-")[0]
    return kind if kind in KINDS else None


def read_note(layer: keras.layers.Layer) -> list[str]:
    """Returns the texts of a note."""
    return [_decoded(text) for text in layer.name.split("-")[1:]]


def _name(kind: str, texts: Sequence[str]) -> str:
    return "-".join([kind, *map(_encoded, texts)])


def _encoded(text: str) -> str:
    return "".join(
        chr(byte) if _PLAIN.match(chr(byte)) else f"_{byte:02x}"
        for byte in text.encode("utf-8", "surrogatepass")
    )


def _decoded(text: str) -> str:
    plain = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
    return plain.encode("latin-1").decode("utf-8", "surrogatepass")
