"""Parameters and FLOPs of the variants, beside the paper's figures."""

from __future__ import annotations

from collections.abc import Iterable

from levit_common.markdown import markdown_table
from levit_tf.flops import count_flops
from levit_tf.model import LeViT
from levit_tf.variants import Variant, get_variant, list_variants


def summary_table(variants: Iterable[str | Variant] | None = None) -> str:
    """A Markdown table: parameters and FLOPs of each variant as built, and the paper's figures.

    Args:
      variants: which; all of `list_variants()` by default, which builds every model once.

    Returns:
      The table. Top-1, and what stands in brackets, are the paper's figures (ImageNet-1k,
      224x224); "-" where the paper has none.
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
