"""Formats the comparison of two files, as text and as plain data."""

from __future__ import annotations

from converters.verification.verify_artefact import Artefact
from converters.verification.verify_compare import (
    Difference,
    LayerDifferences,
    OutputDifferences,
    differing_class_names,
)

_HEADING = f"{'':30} {'largest':>9} {'relative':>9} {'mean':>9} {'cosine':>11}"


def as_text(
    a: Artefact,
    b: Artefact,
    outputs: OutputDifferences,
    layers: LayerDifferences | None,
    tolerance: float,
) -> str:
    height, width = outputs.size
    count = outputs.pictures
    same = []
    if outputs.same_top1 is not None:
        share = 100 * outputs.same_top1 / count
        same = [f"same top-1: {outputs.same_top1} of {count} ({share:.1f} %)"]
    classes = f", {a.network.classes} classes" if a.network.classes else ""
    lines = [
        *(f"{x}  {y.source}: {y.kind}, {y.precision.name}" for x, y in (("A", a), ("B", b))),
        f"{count} pictures of {height}x{width}{classes}",
        "",
        _HEADING,
        *(_row(name, difference) for name, difference in outputs.outputs.items()),
        *same,
    ]
    if layers is not None:
        lines += ["", *_layer_lines(layers, tolerance)]
    if outputs.broken:
        lines += ["", *(f"{source} returns NaN or infinity." for source in outputs.broken)]
    word = "within" if outputs.within(tolerance) else "NOT within"
    relative = outputs.outputs[outputs.deciding].relative
    lines += ["", f"{outputs.deciding}: {relative:.1e}, {word} the tolerance of {tolerance:.1e}"]
    if names := differing_class_names(a, b):
        lines.append(f"class names differ: {names}")
    return "\n".join(lines)


def _row(name: str, difference: Difference | None) -> str:
    if difference is None:
        return f"{name:30} shapes differ"
    return (
        f"{name:30} {difference.maximum:9.1e} {difference.relative:9.1e} {difference.mean:9.1e} "
        f"{difference.cosine:11.8f}"
    )


def layer_table(layers: LayerDifferences) -> list[str]:
    """Returns the lines of a table with the difference of each layer, and its heading."""
    return [_HEADING, *_rows(layers)]


def layers_as_json(layers: LayerDifferences) -> dict:
    """Returns the difference of each layer as plain data; None if the shapes differ."""
    return {name: difference and vars(difference) for name, difference in layers.layers.items()}


def _rows(layers: LayerDifferences) -> list[str]:
    return [_row(name, difference) for name, difference in layers.layers.items()]


def _layer_lines(layers: LayerDifferences, tolerance: float) -> list[str]:
    lines = _rows(layers)
    for side, names in (("A", layers.only_a), ("B", layers.only_b)):
        if names:
            lines.append(f"only in {side}, not compared: {', '.join(names)}")
    if not layers.layers:
        return [*lines, "No layer has the same name in both files: they cannot be compared so."]
    first = layers.first_beyond(tolerance)
    if first is None:
        return [*lines, f"No layer differs by more than {tolerance:.1e}."]
    return [*lines, f"First layer that differs by more than {tolerance:.1e}: {first}"]


def as_json(
    a: Artefact,
    b: Artefact,
    outputs: OutputDifferences,
    layers: LayerDifferences | None,
    tolerance: float,
) -> dict:
    content = {
        **{
            key: {"source": x.source, "kind": x.kind, "precision": x.precision.name}
            for key, x in (("a", a), ("b", b))
        },
        "pictures": outputs.pictures,
        "same_top1": outputs.same_top1,
        "not_finite": list(outputs.broken),
        "outputs": {name: vars(difference) for name, difference in outputs.outputs.items()},
        "tolerance": tolerance,
        "class_names_differ": differing_class_names(a, b),
        "within_tolerance": outputs.within(tolerance),
    }
    if layers is not None:
        content["layers"] = layers_as_json(layers)
        content["first_layer_beyond_tolerance"] = layers.first_beyond(tolerance)
        content["layers_only_in_a"] = layers.only_a
        content["layers_only_in_b"] = layers.only_b
    return content
