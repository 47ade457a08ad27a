"""Runs a TFLite file with one signature per step, as an app with a time limit would."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from levit_common.shipped_names import INPUT, LOGITS, step_signature


def run_steps(interpreter, image: np.ndarray, steps: int) -> Iterator[np.ndarray]:
    """Yields the logits (1, classes) of one step after another; the caller may stop at any time.

    Args:
      interpreter: LiteRT's interpreter of the file.
      image: pixels (1, height, width, channels).
      steps: number of steps.
    """
    known = {INPUT: image}
    for step in range(steps):
        runner = interpreter.get_signature_runner(step_signature(step))
        found = runner(**{name: known[name] for name in runner.get_input_details()})
        known |= {name: array.copy() for name, array in found.items()}
        yield known[LOGITS]
