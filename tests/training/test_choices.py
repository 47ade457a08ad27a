"""What fields of a configuration offer is what there is."""

from training import choices
from training.optim import mixed_precision


def test_each_precision_that_a_run_takes_is_known():
    assert tuple(mixed_precision.POLICIES) == choices.PRECISIONS
