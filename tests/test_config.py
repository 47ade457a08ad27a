"""Configurations: typed fields, checked values, and messages that name what would be right."""

import pytest

from levit_tf import list_variants
from training.config import Config, load_config, override


def test_set_changes_fields_by_their_type():
    config = override(Config(), ["epochs=12", "learning_rate=1e-3", "variant=LeViT128S"])
    assert (config.epochs, config.learning_rate, config.variant) == (12, 1e-3, "LeViT128S")


def test_a_value_may_contain_the_separator():
    with pytest.raises(ValueError, match="'a=b'"):
        override(Config(), ["dataset=a=b"])


def test_the_learning_rate_grows_with_the_batch():
    assert Config(learning_rate=5e-4, batch_size=1024).peak_learning_rate == 1e-3


def test_an_unknown_field_names_the_nearest():
    with pytest.raises(ValueError, match=r"unknown field 'epoch'\. Did you mean 'epochs'\?"):
        override(Config(), ["epoch=3"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epochs", "takes field=value"),
        ("epochs=three", "epochs is an integer. Received: 'three'"),
        ("epochs=1.5", "epochs is an integer"),
        ("learning_rate=fast", "learning_rate is a number"),
        ("epochs=0", "epochs must be at least 1"),
        ("batch_size=-4", "batch_size must be at least 1"),
        ("learning_rate=nan", "learning_rate must be at least 0 and finite"),
        ("weight_decay=-0.1", "weight_decay must be at least 0"),
        ("label_smoothing=1", r"label_smoothing must be in \[0, 1\)"),
        ("warmup_epochs=1000", "warmup_epochs must be fewer than epochs"),
        ("dataset=digit", "dataset must be one of .'digits'"),
        ("variant=LeViT129", "Unknown LeViT variant 'LeViT129'"),
    ],
)
def test_a_wrong_value_is_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        override(Config(), [setting])


def test_every_config_loads_by_name():
    config = load_config("digits")
    assert config.dataset == "digits"
    assert config.variant in list_variants()


def test_an_unknown_config_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"Did you mean 'digits'\? Known: digits"):
        load_config("digit")
