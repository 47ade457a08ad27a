"""Parameters and FLOPs of the variants, compared with the paper's figures."""

from __future__ import annotations

from collections.abc import Iterable

from levit_common.markdown import markdown_table
from levit_tf.flops import count_flops
from levit_tf.model import LeViT
from levit_tf.variants import Variant, get_variant, list_variants


def summary_table(variants: Iterable[str | Variant] | None = None) -> str:
    """Returns a Markdown table of each variant's parameters and FLOPs, and the paper's figures.

    Args:
      variants: variants to list; by default all of `list_variants()`. Each model is built once.

    Returns:
      The table. Top-1 and the values in brackets are the paper's figures (ImageNet-1k, 224x224);
      "-" if the paper has none.
    """
    rows = [
        ("variant", "input", "parameters", "(paper)", "FLOPs", "(paper)", "top-1 (paper)"),
    ]
    for name in list_variants() if variants is None else variants:
        variant = get_variant(name)
        model = LeViT(variant)
        side = variant.input_size
        paper = variant.published
        figures = (
            (f"{paper.params:g} M", f"{paper.flops} M", f"{paper.top1:.1f} %")
            if paper
            else ("-", "-", "-")
        )
        rows.append(
            (
                *(variant.name, f"{side}x{side}", f"{model.count_params():,}", figures[0]),
                *(f"{count_flops(model) / 1e6:,.0f} M", *figures[1:]),
            )
        )
    return markdown_table(rows)
