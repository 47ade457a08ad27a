"""Configurations: typed fields, checked values, and messages that name what would be right."""

import re

import pytest

from levit_tf import list_variants
from training.choices import KEYPOINT_CONFIGS
from training.config import AUTO, Config, config_names, load_config, override
from training.loop.recipe import augmentation
from training.notation import parse_rand_augment
from training.plan import Facts, make_plan


def test_the_defaults_are_the_official_recipe():
    config = Config()
    assert (config.epochs, config.batch_size, config.peak_learning_rate) == (1000, 2048, 2e-3)
    assert (config.weight_decay, config.clip_factor, config.ema_decay) == (0.025, 0.01, 0.99996)
    assert (config.mixup, config.cutmix, config.erasing, config.repeats) == (0.8, 1.0, 0.25, 3)
    found = augmentation(config)
    assert (found.magnitude, found.magnitude_std, found.operations) == (9, 0.5, 2)


def test_set_changes_fields_by_their_type():
    settings = ["epochs=12", "learning_rate=1e-3", "variant=LeViT128S", "jit_compile=true"]
    settings += ["input_size=224x320", "drop_path=none", "rand_augment=none", "init_from=a=b.keras"]
    config = override(Config(), settings)
    assert (config.epochs, config.learning_rate, config.variant) == (12, 1e-3, "LeViT128S")
    assert (config.jit_compile, config.input_size, config.drop_path) == (True, (224, 320), None)
    assert (config.rand_augment, config.init_from) == (None, "a=b.keras")


def test_the_learning_rate_grows_with_the_batch_unless_it_is_for_any():
    config = Config(learning_rate=5e-4, batch_size=1024)
    assert config.peak_learning_rate == 1e-3
    assert override(config, ["rate_batch=none"]).peak_learning_rate == 5e-4


def test_a_field_may_be_left_to_the_plan_where_that_can_choose_it():
    config = override(Config(), ["epochs=auto", "rand_augment=auto", "flip=AUTO"])
    assert (config.epochs, config.rand_augment, config.flip) == (AUTO, AUTO, AUTO)
    assert config.planned == ["epochs", "rand_augment", "flip"]
    assert override(config, ["epochs=9"]).planned == ["rand_augment", "flip"]
    assert re.search(r"^epochs +auto$", str(config), re.MULTILINE)
    with pytest.raises(ValueError, match=r"seed is an integer\. Received: 'auto'"):
        override(Config(), ["seed=auto"])


def test_an_unknown_field_names_the_nearest():
    with pytest.raises(ValueError, match=r"unknown field 'epoch'\. Did you mean 'epochs'\?"):
        override(Config(), ["epoch=3"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epochs", "takes field=value"),
        ("epochs=three", "epochs is an integer or auto. Received: 'three'"),
        ("epochs=1.5", "epochs is an integer"),
        ("learning_rate=fast", "learning_rate is a number"),
        ("drop_path=much", "drop_path is a number or none"),
        ("jit_compile=maybe", "jit_compile is true or false"),
        ("input_size=big", "input_size is a size such as 224 or 224x320 or none"),
        ("init_from=", r"init_from=imagenet \(the released weights\), .* or init_from=none"),
        ("epochs=0", "epochs must be at least 1"),
        ("batch_size=-4", "batch_size must be at least 1"),
        ("learning_rate=nan", "learning_rate must be at least 0 and finite"),
        ("weight_decay=-0.1", "weight_decay must be at least 0"),
        ("label_smoothing=1", r"label_smoothing must be in \[0, 1\)"),
        ("mixing_probability=2", r"mixing_probability must be in \[0, 1\]"),
        ("variant=LeViT129", "Unknown LeViT variant 'LeViT129'"),
        ("precision=float61", "one of float32, bfloat16, float16. Did you mean 'float16'"),
        ("distillation=hart", "one of none, soft, hard. Did you mean 'hard'"),
        ("rand_augment=rand-m9-x3-inc1", "written as 'rand-m9-mstd0.5-inc1'"),
        ("rand_augment=rand-m9", "inc1"),
        ("input_size=100", "height must be a positive multiple of the stem's stride"),
    ],
)
def test_a_wrong_value_is_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        override(Config(), [setting])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["warmup_epochs=1000"], "warmup_epochs must be fewer than epochs"),
        (["batch_size=30", "accumulate=4"], "accumulate must divide batch_size"),
        (["distillation=hard"], "needs a teacher"),
        (["teacher=a.keras"], "needs distillation=hard or distillation=soft"),
        (
            ["distillation=hard", "teacher=a.keras", "distillation_tau=2"],
            "distillation_tau is for distillation=soft",
        ),
        (["teacher_head=true"], "teacher_head is a head of the teacher's classes: set teacher"),
        (
            ["distillation=hard", "teacher=a.onnx", "teacher_head=true", "teacher_classes=a.txt"],
            "teacher_classes=a.txt does not go with teacher_head: .* needs no map",
        ),
        (
            ["distillation=hard", "teacher=a.onnx", "teacher_head=true", "exits=1:pool"],
            "exits=1:pool does not go with teacher_head: it leaves its head behind",
        ),
        (["freeze_batch_norm=true"], "init_from=none has none: set init_from=FILE"),
        (
            ["freeze_batch_norm=true", "init_from=imagenet", "drop_path=0.1"],
            "drop_path=0.1 has no effect",
        ),
    ],
)
def test_fields_that_contradict_one_another_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        override(Config(), settings)


@pytest.mark.parametrize(
    "fields",
    [{"epochs": 3.5}, {"epochs": True}, {"variant": 128}, {"flip": "half"}, {"input_size": 224}],
)
def test_a_value_of_another_type_is_refused(fields):
    (name,) = fields
    with pytest.raises(TypeError, match=f"{name} must be"):
        Config(**fields)


def test_rand_augment_is_read_as_timm_writes_it():
    found = parse_rand_augment("rand-m7-mstd1.5-n3-p0.8-inc1")
    assert found == {
        "magnitude": 7,
        "magnitude_std": 1.5,
        "operations": 3,
        "operation_probability": 0.8,
    }


@pytest.mark.parametrize("name", config_names())
def test_every_config_loads_and_says_how_to_run_it(name):
    config = load_config(name)
    assert config.variant in list_variants()
    doc = __import__(f"training.configs.{name}", fromlist=["CONFIG"]).__doc__
    assert f"--config={name}" in doc or name == "digits"
    assert "Cost" in doc or "minute" in doc
    if not isinstance(config, Config):  # of another task, which has no plan
        return
    facts = Facts(100, (224, 224), is_trained=True, is_head_fresh=True, width=384)
    config = make_plan(config, facts).config
    assert config.planned == []
    assert augmentation(config).size[0] > 0


def test_those_that_find_joints_are_known_by_their_names():
    found = {name for name in config_names() if not isinstance(load_config(name), Config)}
    assert found == set(KEYPOINT_CONFIGS)


def test_the_papers_networks_have_a_config_each():
    names = ["imagenet_128s", "imagenet_128", "imagenet_192", "imagenet", "imagenet_384"]
    assert [load_config(name).variant for name in names] == list_variants()[:5]
    assert {load_config(name).distillation for name in names} == {"hard"}


def test_an_unknown_config_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"Did you mean 'digits'\? Known: cars196, cifar10"):
        load_config("digit")
