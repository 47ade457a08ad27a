"""Runs a TFLite file with a signature for each step, as an app does that stops when it must."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from levit_common.shipped_names import INPUT, LOGITS, step_signature


def run_steps(interpreter, image: np.ndarray, steps: int) -> Iterator[np.ndarray]:
    """Logits (1, classes) of one step after the other; whoever has enough stops.

    Args:
      interpreter: LiteRT's, of the file.
      image: pixels (1, height, width, channels).
      steps: how many there are.
    """
    known = {INPUT: image}
    for step in range(steps):
        runner = interpreter.get_signature_runner(step_signature(step))
        found = runner(**{name: known[name] for name in runner.get_input_details()})
        known |= {name: array.copy() for name, array in found.items()}
        yield known[LOGITS]
