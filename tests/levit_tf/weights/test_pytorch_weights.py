"""State dicts in and out: recognised, complete, and all or nothing."""

import keras
import numpy as np
import pytest

import levit_tf
from levit_common.choices import FLAVOURS
from levit_tf.dynamic.exits import add_exits
from levit_tf.keras_graph.graph_calls import copied
from levit_tf.weights.pytorch_names import name_table, to_pytorch
from levit_tf.weights.pytorch_recognition import recognise
from levit_tf.weights.pytorch_weights import load_state_dict, to_state_dict
from tests.support.cases import slow, some_slow
from tests.support.randomize import randomize_keras

CLASSES = 7


def nano(size=(64, 64), **kwargs):
    kwargs = {"classes": CLASSES, **kwargs}
    return levit_tf.LeViT("LeViTNano", input_shape=(*size, 3), **kwargs)


@pytest.fixture(scope="module")
def trained():
    model = nano()
    randomize_keras(model)
    return model


@pytest.fixture(scope="module")
def initialised():
    """A network like `trained`, with its initial weights."""
    model = nano()
    return model, model.get_weights()


@pytest.fixture
def blank(initialised):
    """The same with initial weights again, whatever another test loaded into it."""
    model, weights = initialised
    model.set_weights(weights)
    return model


def assert_same_weights(found, expected):
    expected = {weight.path: weight for weight in expected.weights}
    for weight in found.weights:
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(weight), keras.ops.convert_to_numpy(expected[weight.path])
        )


@pytest.mark.parametrize(
    "variant",
    some_slow(
        [*levit_tf.list_variants()[:4], "LeViTTiny", "LeViTNano"],
        fast=["LeViTTiny", "LeViTNano"],
    ),
)
def test_the_table_names_every_variable_and_its_shape(variant):
    model = levit_tf.LeViT(variant)
    table = name_table(levit_tf.get_variant(variant))
    assert [entry.path for entry in table] == [weight.path for weight in model.weights]
    for entry, weight in zip(table, model.weights, strict=True):
        assert entry.fits(tuple(weight.shape)), entry


@pytest.mark.parametrize("variant", levit_tf.list_variants())
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_no_two_variables_share_a_key(variant, flavour):
    keys = [entry.key(flavour) for entry in name_table(levit_tf.get_variant(variant))]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("flavour", "heads"),
    [
        *((flavour, "average") for flavour in FLAVOURS),
        *(slow(flavour, "single") for flavour in FLAVOURS),
    ],
)
def test_there_and_back_changes_nothing(trained, blank, flavour, heads):
    if heads == "average":
        model, copy = trained, blank
    else:
        model, copy = nano(heads=heads), nano(heads=heads)
        randomize_keras(model)
    state = to_state_dict(model, flavour)
    report = load_state_dict(copy, state)
    assert_same_weights(copy, model)
    assert report.info.flavour == flavour
    assert report.info.variant.name == "LeViTNano"
    assert (report.info.classes, report.info.channels) == (CLASSES, 3)
    assert report.info.has_head_dist == (heads == "average")
    assert len(report.copied) == len(model.weights)
    assert not report.resized
    assert not report.dropped


def test_official_state_dicts_hold_every_buffer(trained):
    state = to_state_dict(trained, "official")
    indices = [key for key in state if key.endswith("attention_bias_idxs")]
    assert len(indices) == 6
    assert all(state[key].dtype == np.int64 for key in indices)
    counters = sum(key.endswith("num_batches_tracked") for key in state)
    assert counters == sum(key.endswith("running_var") for key in state)


@pytest.mark.parametrize("variant", [n for n in levit_tf.list_variants() if "512" not in n])
def test_variants_are_recognised_by_their_shapes(variant):
    variant = levit_tf.get_variant(variant)
    state = {}
    for entry in name_table(variant):
        shape = tuple(size or 9 for size in entry.shape)
        state[entry.timm] = to_pytorch(np.zeros(shape, np.int8), entry.layout, "timm")
    assert recognise(state).variant is variant


def test_a_bare_hugging_face_backbone_fits_a_model_without_the_top(trained):
    state = to_state_dict(trained, "hf")
    backbone = {
        key.removeprefix("levit."): array for key, array in state.items() if "classifier" not in key
    }
    model = nano(include_top=False)
    report = load_state_dict(model, backbone)
    assert_same_weights(model, trained)
    assert report.info.classes is None


def test_one_head_is_taken_of_two(trained):
    model = nano(heads="single")
    report = load_state_dict(model, to_state_dict(trained, "timm"))
    assert_same_weights(model, trained)
    assert {path.split("/")[1] for path in report.dropped} == {"head_dist"}


def test_two_heads_are_not_made_of_one(blank):
    state = to_state_dict(nano(heads="single"), "timm")
    with pytest.raises(ValueError, match=r"missing \(6\)") as raised:
        load_state_dict(blank, state)
    assert "head_dist.linear.weight, shape (7, 64)" in str(raised.value)


def test_new_heads_for_another_number_of_classes(trained):
    model = nano(classes=3)
    before = keras.ops.convert_to_numpy(model.get_layer("classifier").head.linear.kernel)
    report = load_state_dict(model, to_state_dict(trained, "hf"), new_heads=True)
    after = keras.ops.convert_to_numpy(model.get_layer("classifier").head.linear.kernel)
    np.testing.assert_array_equal(after, before)
    assert len(report.initialised) == 12
    assert "freshly initialised: classifier/head" in str(report)


def test_all_that_does_not_fit_is_listed_and_nothing_is_loaded(trained, blank):
    state = to_state_dict(trained, "official")
    del state["blocks.0.m.qkv.c.weight"], state["head.bn.bias"]
    state["extra.one"] = state["extra.two"] = np.zeros((2, 3), np.float32)
    state["head.l.weight"] = np.zeros((9, 64), np.float32)
    state["patch_embed.0.c.weight"] = np.zeros((4, 1, 3, 3), np.float32)
    model = blank
    before = model.get_weights()
    with pytest.raises(ValueError, match="Nothing was loaded") as raised:
        load_state_dict(model, state, source="some.pth")
    message = str(raised.value)
    assert message.startswith(
        "some.pth (official naming) does not fit LeViTNano for images of 64x64"
    )
    for line in (
        "missing (2):",
        "blocks.0.m.qkv.c.weight, shape (64, 32)",
        "head.bn.bias, shape (64,)",
        "unexpected (2):",
        "extra.one, shape (2, 3)",
        "extra.two, shape (2, 3)",
        "of another shape (2):",
        "head.l.weight: (9, 64), the model needs (7, 64)",
        "patch_embed.0.c.weight: (4, 1, 3, 3), the model needs (4, 3, 3, 3)",
    ):
        assert line in message
    for found, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_another_variant_is_an_error(trained):
    model = levit_tf.LeViT("LeViTTiny", classes=CLASSES)
    with pytest.raises(ValueError, match="does not fit LeViTTiny"):
        load_state_dict(model, to_state_dict(trained, "timm"))


def test_no_levit_at_all():
    with pytest.raises(ValueError, match="not a LeViT of a known codebase") as raised:
        recognise({"conv1.weight": np.zeros(3), "fc.bias": np.zeros(3)}, source="resnet.pth")
    for text in ("resnet.pth", "patch_embed.0.c.weight", "conv1.weight, fc.bias"):
        assert text in str(raised.value)


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "backbone.", "module._orig_mod.", "model.net."]
)
def test_prefixes_are_removed_and_said(trained, blank, flavour, prefix):
    state = {f"{prefix}{key}": array for key, array in to_state_dict(trained, flavour).items()}
    state["n_averaged"] = np.zeros((), np.int64)
    report = load_state_dict(blank, state)
    assert f"removed the prefix {prefix!r}, left out 1 keys without it: n_averaged" in str(report)
    assert_same_weights(blank, trained)


def test_two_networks_in_one_state_dict_are_for_the_user_to_choose_from(trained):
    state = to_state_dict(trained, "timm")
    both = {f"{name}.{key}": value for name in ("model", "ema") for key, value in state.items()}
    with pytest.raises(ValueError, match=r"2 networks.*'model\.', 'ema\.'.*--checkpoint_key=model"):
        recognise(both)


def test_an_unknown_size_of_levit_names_the_nearest(trained):
    state = to_state_dict(trained, "timm")
    state["stages.2.blocks.1.attn.attention_biases"] = np.zeros((4, 1), np.float32)
    with pytest.raises(ValueError, match=r"nearest, LeViTNano, differs in 1:\n  unexpected stages"):
        recognise(state)


def test_bias_tables_of_another_size_are_resized(trained):
    model = nano(size=(128, 192))
    report = load_state_dict(model, to_state_dict(trained, "timm"))
    assert report.resized["stages_0_blocks_0_attn/attention_biases"] == ((4, 4), (8, 12))
    assert len(report.resized) == 6
    assert "4x4 -> 8x12" in str(report)
    table = keras.ops.convert_to_numpy(trained.get_layer("stages_0_blocks_0_attn").attention_biases)
    found = keras.ops.convert_to_numpy(model.get_layer("stages_0_blocks_0_attn").attention_biases)
    np.testing.assert_allclose(found[:, 0], table[:, 0], rtol=1e-6)  # offset zero stays zero
    np.testing.assert_allclose(found[:, -1], table[:, -1], rtol=1e-6)


@pytest.mark.slow
def test_a_non_square_checkpoint_fits_its_own_size_and_needs_it_named_for_another(blank):
    model = nano(size=(64, 96))
    randomize_keras(model)
    state = to_state_dict(model, "timm")
    same = nano(size=(64, 96))
    assert not load_state_dict(same, state).resized
    assert_same_weights(same, model)
    with pytest.raises(ValueError, match=r"attention biases for 24 tokens.*--checkpoint_size"):
        load_state_dict(blank, state)
    report = load_state_dict(blank, state, checkpoint_size=(64, 96))
    assert report.resized["stages_0_blocks_0_attn/attention_biases"] == ((4, 6), (4, 4))


def test_grids_of_the_same_area_are_told_apart_by_the_argument(trained):
    model = nano(size=(32, 128))  # 2x8 = 4x4 = 16 tokens; the later stages differ
    report = load_state_dict(model, to_state_dict(trained, "timm"), checkpoint_size=(64, 64))
    assert report.resized["stages_0_blocks_0_attn/attention_biases"] == ((4, 4), (2, 8))


def test_a_wrong_checkpoint_size_is_an_error(trained, blank):
    with pytest.raises(ValueError, match=r"of another shape \(6\)"):
        load_state_dict(blank, to_state_dict(trained, "timm"), checkpoint_size=(64, 96))


def test_index_buffers_are_compared(trained, blank):
    state = to_state_dict(trained, "official")
    key = "blocks.0.m.attention_bias_idxs"
    state[key] = state[key][:, ::-1]
    with pytest.raises(ValueError, match=rf"{key}: numbers the offsets differently"):
        load_state_dict(blank, state)


def test_what_a_codebase_cannot_build_is_not_written_for_it():
    tiny, wide = levit_tf.LeViT("LeViTTiny"), nano(size=(64, 96))
    for flavour in ("official", "hf"):
        with pytest.raises(ValueError, match=f"cannot be written as {flavour}: its stem has 3"):
            to_state_dict(tiny, flavour)
        with pytest.raises(ValueError, match="its grid is 4x6, there it is always square"):
            to_state_dict(wide, flavour)


def test_silu_variants_are_for_timm_only():
    nano_silu = levit_tf.Variant("Silu", (32, 48, 64), 8, (2, 3, 4), (1, 1, 1), activation="silu")
    model = levit_tf.LeViT(nano_silu, input_shape=(64, 64, 3))
    assert to_state_dict(model, "timm")
    with pytest.raises(ValueError, match="activation is silu"):
        to_state_dict(model, "hf")


def in_front(layer):
    return copied(nano(), at_input=layer)


def behind(layer):
    model = nano()
    return keras.Model(model.input, layer(model.output))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: in_front(keras.layers.Conv2D(3, 1, name="own")), "'own'"),
        (lambda: behind(keras.layers.Dense(2, name="own")), "'own'"),
        (lambda: behind(keras.layers.ReLU(name="own")), "'own'"),
        (lambda: add_exits(nano()), "'exits_0'"),
        (lambda: nano(attention_window=2), r"attention windows .*'stages_0_blocks_0_attn'"),
    ],
    ids=["in front", "behind", "without weights", "exits", "windows"],
)
def test_what_pytorch_has_no_place_for_is_named(make, named):
    with pytest.raises(ValueError, match=named):
        to_state_dict(make(), "timm")


@pytest.mark.parametrize("softmax", [keras.ops.softmax, keras.activations.softmax])
def test_a_softmax_behind_the_network_is_left_to_the_user_in_any_notation(softmax):
    model = nano(classifier_activation=None)
    ended = keras.Model(model.input, softmax(model.output))
    assert to_state_dict(ended, "timm").keys() == to_state_dict(model, "timm").keys()


def test_models_that_are_no_train_form_or_have_no_head(trained):
    with pytest.raises(ValueError, match="not a LeViT in train form"):
        to_state_dict(levit_tf.fuse(trained), "timm")
    with pytest.raises(ValueError, match="no classification head"):
        to_state_dict(nano(include_top=False), "timm")
    with pytest.raises(ValueError, match=r"Unknown format 'onnx'. Known: official, timm"):
        to_state_dict(trained, "onnx")
