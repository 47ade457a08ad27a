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
    single = (logits[-1].argmax(axis=1) == labels, 5.0)
    cells = split_row("made up", logits, labels, [1.0, 4.0], single, 0.02, 0.1, 20)
    row = dict(zip(COLUMNS, cells, strict=True))
    assert row["on all, %"] <= 10 + 3 * row["standard error"]
    assert row["leaving, %"] > 1
    np.testing.assert_allclose(row["mean ms"], 4 - 3 * row["leaving, %"] / 100, atol=1e-6)
    assert row["of the single network's"] == row["mean ms"] / 5
    assert row["top-1, %"] >= row["of the single network, %"] - 2
