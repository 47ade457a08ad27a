"""The experiment on the promise of dynamic files, with answers that are made up."""

import numpy as np

from benchmarks.dynamic_guarantee import COLUMNS, split_row


def test_the_promise_is_kept_on_all_pictures_and_pictures_leave():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 3000)
    logits = []
    for sharp in (3.0, 9.0):
        evidence = rng.normal(size=(3000, 10)) * (1 + rng.exponential(1.5, (3000, 1)))
        evidence[np.arange(3000), labels] += sharp
        logits.append(evidence.astype(np.float32))
    cells = split_row("made up", logits, labels, [1.0, 4.0], 0.02, 0.1, 20)
    row = dict(zip(COLUMNS, cells, strict=True))
    assert row["on all, %"] <= 10 + 3 * row["standard error"]
    assert row["leaving, %"] > 1
    share = row["mean time, share of the whole's"]
    np.testing.assert_allclose(share, 1 - 0.75 * row["leaving, %"] / 100, atol=1e-6)
    assert row["top-1, %"] >= row["of the whole, %"] - 2
