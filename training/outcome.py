"""Judges whether a run can learn and has learned, and suggests what to try if it has not."""

from __future__ import annotations

import dataclasses
import math

from levit_common.markdown import markdown_table
from levit_tf.names import WHOLE
from levit_tf.variants import get_variant
from training.config import Config
from training.log import Row

RESULT_FILE = "result.json"
# If guessing reaches a score with more than this probability, the score proves nothing.
DOUBTFUL = 0.01
# A score that beats guessing by less than this says little, for any number of pictures. It is a
# share of what guessing gets right, and of what it gets wrong.
LITTLE = 0.2
FEW_A_CLASS = 50  # pictures per class
USUAL_RATE = 1e-3  # the peak rate to suggest if nothing else is known


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of a run, as stored in `result.json`.

    Attributes:
      top1: top-1 of the shipped network on held-out pictures, 0..1; with exits, that of the whole
        network.
      pictures: number of held-out pictures that `top1` is of.
      seen: number of these that were trained on as well.
      chance: top-1 of always predicting their most frequent class.
      shipped: the shipped weights: "raw" or "average".
      raw_top1: top-1 of the weights after the last step; with exits, the mean over these and the
        whole network, as in the log.
      average_top1: top-1 of their moving average; None without an average.
      warnings: warnings for the user.
      exits: top-1 of each output of a network with exits, as `top1`; None without exits.
    """

    top1: float
    pictures: int
    seen: int
    chance: float
    shipped: str
    raw_top1: float
    average_top1: float | None
    warnings: tuple[str, ...]
    exits: dict[str, float] | None = None

    def __str__(self) -> str:
        """The raw and averaged weights as a table, if there is an average, then the warnings."""
        parts = [f"\nWARNING: {warning}" for warning in self.warnings]
        if self.average_top1 is not None:
            measured = f"top-1 of {self.pictures:,} held-out pictures, %"
            measured = "mean top-1 of the exits and the whole, %" if self.exits else measured
            rows = [("weights", measured, "shipped")]
            for name, score in (("raw", self.raw_top1), ("average", self.average_top1)):
                rows.append((name, f"{100 * score:.2f}", "yes" if name == self.shipped else "no"))
            parts.insert(0, f"\n{markdown_table(rows, right=(1,))}")
        return "\n".join(parts)


def warn_of_small_rates(
    config: Config, total_rate: float, steps: int, is_head_fresh: bool
) -> str | None:
    """Returns a warning if the learning rates of all steps together cannot train a fresh head.

    With Adam, a weight moves by about the learning rate in each step. The head's features from the
    last stage have a size of about 1, so its logits move by at most the number of features times
    the sum of the rates.

    Args:
      config: the configuration, with every field set.
      total_rate: sum of the rates of all steps.
      steps: number of steps.
      is_head_fresh: whether the classification head is initialised at random.
    """
    features = get_variant(config.variant).embed_dim[-1]
    reach = total_rate * config.head_rate * features
    if not is_head_fresh or reach >= 1:
        return None
    return (
        f"the learning rates of all {steps:,} steps add up to {total_rate:.1e}, too little to "
        f"teach a fresh head anything (its logits move by {reach:.2g} at most). Set "
        f"{_rate_of(config, USUAL_RATE)}, or leave learning_rate, warmup_steps and epochs to the "
        "plan with =auto; then try more epochs."
    )


def warn_of_few_pictures(config: Config, pictures: int, classes: int) -> str | None:
    """Returns a warning if there are too few pictures to train random weights.

    Args:
      config: the configuration, with every field set.
      pictures: number of training pictures.
      classes: number of classes.
    """
    if config.init_from is not None or pictures >= FEW_A_CLASS * classes:
        return None
    return (
        f"{pictures:,} pictures of {classes} classes are few for random weights. Begin with "
        "trained ones: --set=init_from=imagenet, or --set=init_from=FILE; or fit a new head on "
        "such a network in a minute: python -m training.linear_probe."
    )


def warn_of_seen_pictures(seen: int, pictures: int) -> str | None:
    """Returns a warning if held-out pictures are trained on.

    Args:
      seen: number of them.
      pictures: number of held-out pictures.
    """
    if not seen:
        return None
    return (
        f"{seen:,} of the {pictures:,} held-out pictures are trained on as well: top-1 does not "
        "tell how the network does on new pictures. Set split_train and split_test to parts "
        "without common pictures, or leave them out."
    )


def warn_of_few_held_out(pictures: int, chance: float) -> str | None:
    """Returns a warning if all held-out pictures could be right by guessing.

    Args:
      pictures: number of held-out pictures.
      chance: share of their most frequent class.
    """
    if chance**pictures <= DOUBTFUL:
        return None
    return (
        f"{pictures} held-out pictures are too few to tell a network from guessing. Hold out more: "
        "put pictures into sub-folders train/CLASS and test/CLASS."
    )


def judge(
    config: Config,
    rows: list[Row],
    *,
    pictures: int,
    chance: float,
    early: list[str],
    seen: int = 0,
    exits: dict[str, float] | None = None,
) -> Outcome:
    """Judges the result of a finished run.

    Args:
      config: the configuration, with every field set.
      rows: log rows of all epochs; the last one is always evaluated.
      pictures: number of held-out pictures.
      chance: share of their most frequent class.
      early: warnings given before training.
      seen: number of held-out pictures that were trained on.
      exits: top-1 of each output on these pictures; None for a network without exits.
    """
    row = rows[-1]
    warnings = list(early)
    if doubt := warn_of_few_held_out(pictures, chance):
        warnings.append(doubt)
    # Each by itself: beside a whole network that was trained before, the mean shows nothing.
    scores = exits or {"the network": row.score}
    poor = {
        name: top1 for name, top1 in scores.items() if _is_near_guessing(top1, pictures, chance)
    }
    if poor:
        advice = advise(config, rows)[:3]
        warnings.append(
            f"{' and '.join(poor)} {'has' if len(poor) == 1 else 'have'} learned little or "
            f"nothing: top-1 is {' and '.join(f'{100 * top1:.1f} %' for top1 in poor.values())} of "
            f"{pictures:,} held-out pictures, and always naming the most frequent class gives "
            f"{100 * chance:.1f} %. Try, each in a new folder:\n"
            + "\n".join(f"  {number}. {text}" for number, text in enumerate(advice, 1))
        )
    return Outcome(
        top1=exits[WHOLE] if exits else row.score,
        pictures=pictures,
        seen=seen,
        chance=chance,
        shipped="average" if row.ships_average else "raw",
        raw_top1=row.top1,
        average_top1=row.ema_top1,
        warnings=tuple(warnings),
        exits=exits,
    )


def _is_near_guessing(top1: float, pictures: int, chance: float) -> bool:
    """Whether guessing could have reached a score, or nearly so."""
    is_lucky = _tail(round(top1 * pictures), pictures, chance) > DOUBTFUL
    is_little = top1 - chance <= LITTLE * min(chance, 1 - chance)
    return is_little or (is_lucky and chance**pictures <= DOUBTFUL)


def advise(config: Config, rows: list[Row]) -> list[str]:
    """Lists what to try if a run has learned nothing, the most promising first."""
    found = []
    if config.init_from is None:
        found.append(
            "--set=init_from=imagenet, or =FILE: trained weights need far fewer pictures and steps "
            "than random ones."
        )
    peak, grew = config.peak_learning_rate, rows[-1].loss > 1.05 * min(row.loss for row in rows)
    if grew or peak > 2 * USUAL_RATE:
        found.append(f"{_rate_of(config, peak / 5)}: the rate may be too high for these pictures.")
    elif peak < USUAL_RATE / 2:
        found.append(f"{_rate_of(config, USUAL_RATE)}: the rate was {peak:.1e} at its highest.")
    augments = [
        *(f"--set={name}=0" for name in ("mixup", "cutmix", "erasing") if getattr(config, name)),
        *(["--set=rand_augment=none"] if config.rand_augment else []),
    ]
    if augments:
        found.append(f"{' '.join(augments)}: such augmentation is for long runs.")
    found.append(f"--set=epochs={3 * config.epochs}: {rows[-1].step:,} steps may be too few.")
    if config.freeze_batch_norm:
        found.append("--set=freeze_batch_norm=false: statistics of these pictures.")
    found.append(
        "predictions.png, in the folder of the run: do the pictures belong to the folders that "
        "they are in, and can a person tell the classes apart at this size "
        "(--set=input_size=SIZE)?"
    )
    found.append(f"--set=learning_rate={2 * config.learning_rate:.2g}, or half of it.")
    return found


def _rate_of(config: Config, peak: float) -> str:
    """Returns the setting for a peak learning rate."""
    rate = peak if config.rate_batch is None else peak * config.rate_batch / config.batch_size
    return f"--set=learning_rate={rate:.2g}"


def _tail(hits: int, count: int, probability: float) -> float:
    """Probability that guessing gets at least `hits` of `count` right."""
    if not 0 < probability < 1:
        return float(hits <= probability * count)
    log = math.log

    def term(k: int) -> float:
        ways = math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        return math.exp(ways + k * log(probability) + (count - k) * log(1 - probability))

    return math.fsum(term(k) for k in range(hits, count + 1))
