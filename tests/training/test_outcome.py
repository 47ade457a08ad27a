"""What a run is told before and after: whether it can learn, and whether it has learned."""

import dataclasses

import pytest

from levit_tf.names import WHOLE
from training.config import Config, load_config, override
from training.log import Row
from training.outcome import advise, judge, warn_of_small_rates
from training.plan import Facts, make_plan

ROW = Row(3, 51, 1e-6, 1.5, top1=0.9, ema_top1=None, images_per_second=1.0, data_wait=0.0)


def planned(*settings):
    config = override(load_config("imagefolder"), ["epochs=3", "batch_size=16", *settings])
    return make_plan(config, Facts(270, (224, 224), True, True, 384)).config


def rows(top1, average=None, losses=(1.7, 1.6, 1.5)):
    made = [dataclasses.replace(ROW, epoch=n + 1, loss=loss) for n, loss in enumerate(losses)]
    return [*made[:-1], dataclasses.replace(made[-1], top1=top1, ema_top1=average)]


def judged(top1, pictures=150, chance=0.2, average=None, config=None):
    config = config or planned()
    return judge(config, rows(top1, average), pictures=pictures, chance=chance, early=[])


def test_a_run_that_learned_is_not_bothered():
    assert judged(0.9).warnings == ()
    assert judged(0.97, chance=0.9, pictures=1000).warnings == ()
    assert judged(0.62, chance=0.5, pictures=140).warnings == ()
    assert judged(0.05, chance=0.001, pictures=50_000).warnings == ()


@pytest.mark.parametrize(
    ("top1", "pictures", "chance"),
    [
        (0.04, 150, 0.2),  # below chance, as five digits ended with the recipe for large batches
        (0.20, 150, 0.2),
        (0.57, 140, 0.5),  # cats and dogs
        (0.27, 50, 0.2),  # no more than luck among so few
        (0.91, 1000, 0.9),  # nearly all pictures are of one class
    ],
)
def test_a_run_that_ends_near_guessing_says_so_and_what_to_try(top1, pictures, chance):
    (warning,) = judged(top1, pictures, chance).warnings
    assert f"top-1 is {100 * top1:.1f} % of {pictures:,} held-out" in warning
    assert f"gives {100 * chance:.1f} %" in warning
    for number in (1, 2, 3):
        assert f"\n  {number}. " in warning
    assert "--set=" in warning


def test_exits_that_learned_nothing_are_named_beside_a_whole_network_that_knows():
    def of(first, second):
        exits = {"exits_0": first, "exits_1": second, WHOLE: 0.99}
        mean = sum(exits.values()) / 3
        return judge(planned(), rows(mean), pictures=360, chance=0.1, early=[], exits=exits)

    found = of(0.1, 0.1)
    assert (found.top1, found.exits["exits_0"]) == (0.99, 0.1)
    (warning,) = found.warnings
    assert "exits_0 and exits_1 have learned little or nothing: top-1 is 10.0 % and 10" in warning
    (warning,) = of(0.1, 0.8).warnings
    assert warning.startswith("exits_0 has learned little or nothing: top-1 is 10.0 % of 360")
    assert of(0.6, 0.8).warnings == ()


def test_too_few_held_out_pictures_are_named_whatever_the_score():
    (warning,) = judged(1.0, pictures=2, chance=0.5).warnings
    assert "2 held-out pictures are too few" in warning
    assert "test/CLASS" in warning


def test_held_out_pictures_that_were_trained_on_are_in_the_result():
    found = judge(planned(), rows(1.0), pictures=150, chance=0.2, early=["9 of them"], seen=9)
    assert (found.seen, found.warnings) == (9, ("9 of them",))
    assert judged(1.0).seen == 0


def test_what_to_try_goes_by_the_run():
    slow = planned("learning_rate=1e-5")
    assert advise(slow, rows(0.2))[0].startswith("--set=learning_rate=0.001:")
    rising = rows(0.2, losses=(1.7, 1.6, 2.4))
    assert "may be too high" in advise(planned("learning_rate=0.01"), rising)[0]
    augmented = planned("mixup=0.8", "rand_augment=rand-m9-inc1")
    found = advise(augmented, rows(0.2))
    assert any(line.startswith("--set=mixup=0 --set=rand_augment=none") for line in found)
    assert any(line.startswith("--set=epochs=9:") for line in found)
    scratch = planned("init_from=none")
    assert advise(scratch, rows(0.2))[0].startswith("--set=init_from=imagenet, or =FILE")


def test_what_to_try_can_be_set():
    for config in (planned("learning_rate=1e-5", "mixup=0.8"), planned("init_from=none")):
        for line in advise(config, rows(0.2)):
            settings = line.partition(":")[0].split()
            for setting in settings:
                if setting.startswith("--set=") and "=FILE" not in setting:
                    override(config, [setting.removeprefix("--set=").rstrip(",")])


def test_rates_that_cannot_move_a_fresh_head_are_told_before():
    config = planned("variant=LeViTTiny", "rate_batch=512", "learning_rate=4e-4")
    warning = warn_of_small_rates(config, total_rate=1.7e-4, steps=51, is_head_fresh=True)
    assert "add up to 1.7e-04, too little to teach a fresh head" in warning
    assert "--set=learning_rate=0.032" in warning  # 1e-3 at a batch of 16
    assert warn_of_small_rates(config, 0.02, 51, is_head_fresh=True) is None
    assert warn_of_small_rates(config, 1.7e-4, 51, is_head_fresh=False) is None


def test_the_paper_recipes_are_not_warned_of():
    for steps in (100_000, 1_000):
        assert warn_of_small_rates(Config(), 5e-4 * steps, steps, is_head_fresh=True) is None


def test_the_better_network_is_named_with_both_figures():
    outcome = judged(0.625, average=0.117)
    assert (outcome.shipped, outcome.top1, outcome.average_top1) == ("raw", 0.625, 0.117)
    lines = str(outcome).splitlines()
    assert "| raw     |                             62.50 | yes     |" in lines
    assert "| average |                             11.70 | no      |" in lines
    assert judged(0.6, average=0.6).shipped == "average"
    assert "| average" not in str(judged(0.6))
