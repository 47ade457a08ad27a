"""Names in the files that are shipped: the one definition for those who write and who read them.

A SavedModel and a TFLite file have a signature `serving_default` with

- the input `images`: (batch, height, width, 3), plain RGB values 0..255, because mean and standard
  deviation are part of the graph; float32, and in a fully quantised TFLite file uint8 or int8;
- the output `logits`: (batch, classes);
- the output `probabilities`: (batch, classes), the softmax of the logits.

A dynamic one, of `levit_tf.dynamic`, answers with the first step that is sure, and has besides

- the output `exit`: (batch,) int32, the number of that step, from 0;
- a signature `with_thresholds` that takes `thresholds` (steps - 1,) as well, the confidence from
  which on the answer of each step but the last counts, in place of those in the file, and returns
  `logits` too. A threshold above 1 is never reached, one of 0 always.

Its sibling for apps that stop when their time is up has a signature for each step, `step_0`,
`step_1` and so on: they return `logits`, `probabilities` and what later steps take by its name,
`state_0` and so on.

One that finds joints, of `levit_tf.keypoints`, has the output `keypoints` instead: (batch, joints,
3), x and y in pixels of the input, the middle of the first being 0, and confidence 0..1.

A `.keras` file is another matter: its model takes normalised pixels, as in keras.applications.
"""

SIGNATURE = "serving_default"
INPUT = "images"
LOGITS = "logits"
PROBABILITIES = "probabilities"
EXIT = "exit"
KEYPOINTS = "keypoints"
THRESHOLDS = "thresholds"
THRESHOLDS_SIGNATURE = "with_thresholds"
# 1 / temperature of each step but the last: a constant in the files, beside the thresholds.
SHARPNESS = "sharpness"


def step_signature(step: int) -> str:
    """Name of the signature of a step, counted from 0."""
    return f"step_{step}"


def state_name(number: int) -> str:
    """Name of something that one step leaves for a later one."""
    return f"state_{number}"
