"""What a plan chooses, for any number of pictures; and that it leaves alone what was set."""

import dataclasses
import itertools

import pytest

from training.config import AUTO, Config, load_config, override
from training.loop.recipe import make_rates
from training.plan import Facts, make_plan

README = ("epochs=3", "batch_size=16")


def facts(pictures, **changes):
    usual = Facts(pictures, (224, 224), is_trained=True, is_head_fresh=True, width=384)
    return dataclasses.replace(usual, **changes)


def planned(pictures, *settings, **changes):
    config = override(load_config("imagefolder"), settings)
    return make_plan(config, facts(pictures, **changes))


def reach(plan):
    """The sum of the rates of all steps: how far a weight of the head can get."""
    config = plan.config
    return make_rates(config, plan.steps_per_epoch).total() * config.head_rate


@pytest.mark.parametrize("pictures", [2, 18, 100, 1_000, 10_000, 100_000])
@pytest.mark.parametrize("is_trained", [True, False])
def test_a_plan_has_no_gaps_and_fits_the_folder(pictures, is_trained):
    plan = planned(
        pictures,
        f"init_from={'imagenet' if is_trained else 'none'}",
        is_trained=is_trained,
    )
    config = plan.config
    assert config.planned == []
    assert plan.steps_per_epoch >= 1
    assert config.batch_size <= pictures
    assert config.warmup_steps <= plan.steps_per_epoch * config.epochs / 10
    assert {choice.field for choice in plan.choices} == set(load_config("imagefolder").planned)
    assert all(choice.reason for choice in plan.choices)


@pytest.mark.parametrize("pictures", [100, 1_000, 100_000])
def test_the_rates_of_the_readmes_line_can_move_a_head(pictures):
    assert reach(planned(pictures, *README)) > 0.005


def test_the_rate_is_the_same_at_every_batch():
    rates = {planned(5_000, f"batch_size={n}").config.peak_learning_rate for n in (8, 64, 512)}
    assert len(rates) == 1
    scaled = planned(5_000, "batch_size=64", "rate_batch=512").config
    assert scaled.peak_learning_rate == pytest.approx(*rates)


def test_a_batch_larger_than_the_folder_is_cut_and_the_plan_says_so():
    plan = planned(9, "batch_size=16")
    assert (plan.config.batch_size, plan.steps_per_epoch) == (9, 1)
    assert "batch_size=9: 16 were asked for; there are 9" in str(plan)


def test_a_batch_can_be_shared_by_replicas():
    for pictures, multiple in itertools.product((8, 37, 1_000), (1, 3, 8)):
        assert planned(pictures, multiple=multiple).config.batch_size % multiple == 0
    with pytest.raises(ValueError, match="2 training pictures cannot fill a batch"):
        planned(2, multiple=4)


def test_epochs_go_by_steps():
    few, many = planned(100).config.epochs, planned(100_000).config.epochs
    assert few > 3 * many
    assert planned(100, "init_from=none", is_trained=False).config.epochs > few


def test_what_is_set_stays_as_it_is():
    settings = ["epochs=7", "learning_rate=0.5", "mixup=0.3", "rand_augment=none", "flip=1"]
    config = planned(300, *settings).config
    assert (config.epochs, config.learning_rate, config.mixup) == (7, 0.5, 0.3)
    assert (config.rand_augment, config.flip) == (None, 1)
    assert planned(300, "warmup_epochs=2", "batch_size=30").config.warmup_steps == 20


def test_random_weights_are_not_frozen():
    plan = planned(300, "init_from=none", is_trained=False)
    assert plan.config.freeze_batch_norm is False
    assert "freeze_batch_norm=false: random weights have no statistics to keep" in str(plan)


def test_the_average_is_over_a_share_of_the_run_if_that_has_enough_steps():
    assert planned(20, *README).config.ema_decay == 0
    assert "ema_decay=0: 6 steps are too few for an average" in str(planned(20, *README))
    decays = [planned(n, *README).config.ema_decay for n in (100, 1_000, 100_000)]
    assert decays == sorted(set(decays))
    assert all(0.5 < decay < 1 for decay in decays)


def test_letters_are_not_mirrored():
    assert planned(1_000, "epochs=30").config.flip == 0.5
    grey = planned(1_000, "epochs=30", is_grey=True)
    small = planned(1_000, "epochs=30", input_size=(32, 32))
    assert (grey.config.flip, small.config.flip) == (0, 0)
    assert "flip=0: pictures without colours" in str(grey)


def test_augmentation_grows_with_the_run_and_is_weaker_on_random_weights():
    def strength(epochs, pictures=1_000, **changes):
        config = planned(pictures, f"epochs={epochs}", "batch_size=16", **changes).config
        return config.mixup + config.cutmix + config.erasing + (1 - config.crop_scale)

    found = [strength(epochs) for epochs in (3, 10, 30, 1000)]
    assert found == sorted(set(found))
    assert strength(3, is_trained=False) == strength(3)
    assert strength(30, is_trained=False) < strength(30)
    assert strength(30, pictures=40) < strength(30)


def test_a_wider_network_and_a_longer_run_learn_more_slowly():
    rates = [planned(500, width=width).config.peak_learning_rate for width in (96, 384, 768)]
    assert rates == sorted(set(rates), reverse=True)
    rates = [planned(500, f"epochs={n}").config.peak_learning_rate for n in (2, 5, 50)]
    assert rates == sorted(rates, reverse=True)
    fresh, known = planned(500), planned(500, is_head_fresh=False)
    assert fresh.config.head_rate > known.config.head_rate == 1


def test_statistics_of_other_pictures_are_forgotten_in_the_shortest_run():
    for pictures in (2, 20, 100, 10_000):
        plan = planned(pictures, *README)
        momentum = plan.config.batch_norm_momentum
        assert momentum <= 0.9
        assert momentum ** (3 * plan.steps_per_epoch) < 0.06
    assert planned(1_000).config.batch_norm_momentum == 0.9


def test_a_step_of_very_few_pictures_keeps_the_statistics_it_has():
    assert planned(300, "batch_size=4").config.freeze_batch_norm is True
    assert planned(300, "batch_size=16").config.freeze_batch_norm is False
    random = planned(300, "batch_size=4", "init_from=none", is_trained=False)
    assert random.config.freeze_batch_norm is False


def test_a_configuration_without_gaps_is_not_touched():
    for name in ("imagenet", "digits", "cifar10", "imagenet_qat"):
        config = load_config(name)
        assert make_plan(config, facts(5_000)).config is config
    assert make_plan(Config(batch_size=64), facts(9)).config.batch_size == 64


@pytest.mark.parametrize(("pictures", "epochs"), [(200, 16), (9_469, 3), (100_000, 2)])
def test_rounding_is_learned_in_few_steps(pictures, epochs):
    plan = make_plan(load_config("imagefolder_qat"), facts(pictures))
    assert plan.config.epochs == epochs
    assert plan.config.learning_rate == 1e-5


def test_the_plan_reads_as_text_with_its_reasons():
    text = str(planned(270, *README)).splitlines()
    assert text[0] == "plan: 17 steps an epoch, 51 in all (3 epochs, 16 pictures a step)"
    assert any(line.startswith("  learning_rate=0.") for line in text)
    assert any("mixup=0 cutmix=0 rand_augment=none " in line for line in text)
    assert text[-1] == "  --set=FIELD=VALUE sets any of them"


def test_any_configuration_may_leave_a_field_to_the_plan():
    config = override(load_config("digits"), ["learning_rate=auto", "epochs=auto"])
    plan = make_plan(config, facts(1_000, is_trained=False))
    assert [choice.field for choice in plan.choices] == ["epochs", "learning_rate"]
    assert AUTO not in dataclasses.asdict(plan.config).values()
