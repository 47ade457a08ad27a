"""Relative error against the PyTorch implementations, as a Markdown table.

    python -m benchmarks.parity

Random weights, BatchNorm state and attention biases; float32 on CPU; the error is the largest
absolute difference over the largest absolute value. Takes about five minutes on two cores. The
official code is included where LEVIT_OFFICIAL_REPO names a checkout of it. Where zeromodels is
installed, a second table has the logits of its LeViT and of ours, both with the same checkpoint of
transformers, against transformers' own.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import numpy as np
from absl import flags

from benchmarks.networks import peers
from benchmarks.networks.ours import VARIANTS
from benchmarks.support import options, results
from levit_common import cli
from tests.support import references
from tests.support.parity import (
    DEPTHS,
    inference_errors,
    make_reference,
    ported,
    relative_error,
    training_errors,
)
from tests.support.randomize import random_images

_COLUMNS = (*DEPTHS, "head (training)", "head_dist (training)")
_SIZES = ((224, 320), (192, 256), (240, 208))


def _rows() -> Iterator[tuple[str, str, str, dict[str, float]]]:
    """(variant, codebase, size, column -> error)."""
    codebases = ["timm", "hf", *(["official"] if references.OFFICIAL_REPO else [])]
    for variant in VARIANTS:
        for flavour in codebases:
            reference = make_reference(flavour, variant)
            model = ported(reference, variant)
            errors = inference_errors(reference, model)
            trained = training_errors(reference, variant, model)
            errors |= {f"{head} (training)": error for head, error in trained.items()}
            yield variant, flavour, "224x224", errors
    for variant in list(references.TIMM_NAMES)[5:]:
        reference = references.timm_by_name(variant)
        yield variant, "timm", "224x224", inference_errors(reference, ported(reference, variant))
    reference = make_reference("timm_conv", "LeViT128S")
    errors = inference_errors(reference, ported(reference, "LeViT128S"))
    yield "LeViT128S", "timm_conv", "224x224", errors
    for size in _SIZES:
        reference = references.timm_reference("LeViT128S", size)
        errors = inference_errors(reference, ported(reference, "LeViT128S", size), size)
        yield "LeViT128S", "timm", "x".join(map(str, size)), errors


def _port_rows() -> Iterator[tuple[str, float, float]]:
    """(variant, error of our logits, error of zeromodels')."""
    for variant in VARIANTS:
        reference = make_reference("hf", variant)
        ours = ported(reference, variant)  # which randomises the reference
        theirs = peers.zeromodels_levit(variant)
        theirs.transfer_from_hf(theirs, reference.state())
        images = random_images((224, 224), 2, seed=7)
        # (batch, height, width, 3) -> (batch, 3, height, width)
        expected = reference.forward(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))["logits"]
        errors = (
            relative_error(np.asarray(model(images, training=False)), expected)
            for model in (ours, theirs)
        )
        yield variant, *errors


def main() -> None:
    rows = [(*names, *map(errors.get, _COLUMNS)) for *names, errors in _rows()]
    columns = ("variant", "codebase", "size", *_COLUMNS)
    results.publish("parity", columns, rows, flags.FLAGS.output)
    if importlib.util.find_spec("zeromodels"):
        columns = ("variant", "levit_tf", "zeromodels")
        results.publish("parity_ports", columns, list(_port_rows()), flags.FLAGS.output)


if __name__ == "__main__":
    cli.Command(main, options.define_output).run()
