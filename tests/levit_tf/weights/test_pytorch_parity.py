"""The same weights give the same numbers as the PyTorch implementations, at every depth."""

import itertools

import keras
import numpy as np
import pytest

import levit_tf
from tests.support import references
from tests.support.cases import slow
from tests.support.parity import (
    TOLERANCE,
    inference_errors,
    make_reference,
    ported,
    training_errors,
)

PAPER = levit_tf.list_variants()[:5]
FAST = [("timm", "LeViTNano"), ("hf", "LeViTNano")]


def assert_small(errors):
    assert max(errors.values()) <= TOLERANCE, errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flavour", "variant"),
    FAST + [slow(*case) for case in itertools.product(("timm", "hf", "official"), PAPER)],
)
def test_variants_agree_at_every_depth_and_in_training(flavour, variant):
    if flavour == "official" and not references.OFFICIAL_REPO:
        pytest.skip("LEVIT_OFFICIAL_REPO names no checkout of the official repository")
    reference = make_reference(flavour, variant)
    model = ported(reference, variant)
    assert_small(inference_errors(reference, model))
    assert_small(training_errors(reference, variant, model))


@pytest.mark.slow
def test_timm_conv_agrees():
    reference = make_reference("timm_conv", "LeViT128S")
    assert_small(inference_errors(reference, ported(reference, "LeViT128S")))


@pytest.mark.parametrize(
    ("variant", "size"),
    [
        ("LeViTNano", (112, 80)),
        *(slow("LeViT128S", size) for size in ((224, 320), (192, 256), (240, 208))),
    ],
)
def test_non_square_and_odd_grids_agree(variant, size):
    reference = references.timm_reference(variant, size)
    assert_small(inference_errors(reference, ported(reference, variant, size), size))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "sizes"),
    [
        ("LeViTNano", [(96, 160), (64, 64)]),
        slow("LeViT128S", [(192, 256), (224, 320), (288, 288), (448, 800)]),
    ],
    ids=["LeViTNano", "LeViT128S"],
)
def test_one_network_for_every_size_is_timms_built_for_each(variant, sizes):
    """timm's tables are resized by PyTorch, from those that it was trained with."""
    import torch

    variant = levit_tf.get_variant(variant)
    trained_size = (variant.input_size,) * 2
    reference = references.timm_reference(variant, trained_size)
    model = levit_tf.with_input_size(ported(reference, variant, trained_size), None)
    trained, grids = reference.module.state_dict(), variant.grids(trained_size)
    for size in sizes:
        built = references.timm_reference(variant, size)
        state = {}
        for key, wanted in built.module.state_dict().items():
            state[key] = trained.get(key, wanted)
            if key.endswith("attention_biases"):
                stage = next(n for n, g in enumerate(grids) if g[0] * g[1] == trained[key].shape[1])
                picture = trained[key].reshape(1, -1, *grids[stage])
                target = variant.grids(size)[stage]
                state[key] = torch.nn.functional.interpolate(
                    picture, size=target, mode="bilinear", align_corners=True
                ).reshape(len(trained[key]), -1)
            elif key.endswith("attention_bias_idxs"):
                state[key] = wanted
        built.module.load_state_dict(state)
        errors = inference_errors(built, model, size)
        print(size, errors)
        assert_small(errors)


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant", ["LeViT256D", "LeViT512", "LeViT512D", "LeViT384S8", "LeViT512S8"]
)
@pytest.mark.parametrize("conv", [False, True])
def test_timm_only_variants_agree(variant, conv):
    reference = references.timm_by_name(variant, conv=conv)
    assert_small(inference_errors(reference, ported(reference, variant)))


@pytest.mark.slow
def test_every_bias_table_matters():
    """A parity test that a wrong bias index would pass is no test."""
    variant, size = "LeViTNano", (128, 192)
    reference = references.timm_reference(variant, size)
    model = ported(reference, variant, size)
    assert_small(inference_errors(reference, model, size))
    tables = [w for w in model.weights if w.path.endswith("attention_biases")]
    assert len(tables) == 6
    for table in tables:
        values = keras.ops.convert_to_numpy(table)
        table.assign(np.roll(values, 1, axis=1))
        errors = inference_errors(reference, model, size)
        assert errors["logits"] > 50 * TOLERANCE, table.path
        # Averaging over tokens hides much of it.
        assert errors["stages_2"] > 500 * TOLERANCE, table.path
        table.assign(values)
