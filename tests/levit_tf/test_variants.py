"""The variant table, and looking variants up."""

import dataclasses

import pytest

from levit_tf import Variant, get_variant, list_variants
from levit_tf.variants import STAGES


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("LeViT128S", "LeViT128S"),
        ("LeViT_128S", "LeViT128S"),
        ("levit_256", "LeViT256"),
        ("levit_conv_384", "LeViT384"),
        ("levit_192.fb_dist_in1k", "LeViT192"),
        ("timm/levit_conv_128.fb_dist_in1k", "LeViT128"),
        ("facebook/levit-128S", "LeViT128S"),
        ("levit_384_s8", "LeViT384S8"),
        ("levit_512d", "LeViT512D"),
    ],
)
def test_every_common_spelling_is_understood(spelling, name):
    assert get_variant(spelling).name == name


def test_an_unknown_name_lists_all_and_names_the_nearest():
    with pytest.raises(ValueError, match=r"Did you mean 'LeViT256'.*LeViT128S, LeViT128, LeViT192"):
        get_variant("LeViT265")
    with pytest.raises(TypeError, match="256"):
        get_variant(256)


def test_the_papers_five_come_first():
    assert list_variants()[:5] == ["LeViT128S", "LeViT128", "LeViT192", "LeViT256", "LeViT384"]
    assert all(get_variant(name).published for name in list_variants()[:5])


def test_stem_and_subsampling_widths_follow_from_the_table():
    variant = get_variant("LeViT256")
    assert variant.stem_filters == (32, 64, 128, 256)
    assert variant.stem_stride == 16
    # Design table of the paper: C/D = 8 and 12 for LeViT-256.
    assert [variant.downsample_num_heads(stage) for stage in range(1, STAGES)] == [8, 12]


@pytest.mark.parametrize(
    ("size", "grids"),
    [
        ((224, 224), [(14, 14), (7, 7), (4, 4)]),
        ((224, 320), [(14, 20), (7, 10), (4, 5)]),
        ((240, 208), [(15, 13), (8, 7), (4, 4)]),
    ],
)
def test_grids_halve_rounding_up(size, grids):
    assert get_variant("LeViT128").grids(size) == grids


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": (1, 2)}, "depth must be 3 positive integers"),
        ({"num_heads": (0, 2, 2)}, "num_heads"),
        ({"activation": "gelu"}, "activation must be one of"),
        ({"drop_path_rate": 1.0}, "drop_path_rate"),
        ({"embed_dim": (100, 128, 256)}, r"embed_dim\[0\]"),
    ],
)
def test_an_impossible_variant_is_refused_with_its_field(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(get_variant("LeViT128"), **change)


def test_a_variant_of_ones_own_is_taken_as_it_is():
    own = Variant("Own", (16, 16, 16), 8, (1, 1, 1), (1, 1, 1), input_size=32)
    assert get_variant(own) is own
