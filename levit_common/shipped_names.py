"""Names in exported model files, shared by the code that writes and the code that reads them.

A SavedModel and a TFLite file have a signature `serving_default` with:

- the input `images`: (batch, height, width, 3), plain RGB values 0..255, because mean and standard
  deviation are part of the graph; float32, and in a fully quantised TFLite file uint8 or int8;
- the output `logits`: (batch, classes);
- the output `probabilities`: (batch, classes), the softmax of the logits.

A dynamic file (`levit_tf.dynamic`) returns the result of the first step with enough confidence, and
additionally has:

- the output `exit`: (batch,) int32, the number of that step, from 0;
- a signature `with_thresholds` with the additional input `thresholds` (steps - 1,), which replaces
  the thresholds in the file: for each step except the last, the confidence from which on pictures
  leave there. It returns `logits`, too. A threshold above 1 is never reached, one of 0 always.

Its variant for apps with a time limit has one signature per step, `step_0`, `step_1` and so on.
They return `logits`, `probabilities` and the inputs of later steps by name, `state_0` and so on.

A keypoint file (`levit_tf.keypoints`) has the output `keypoints` instead: (batch, joints, 3), with
x and y in pixels of the input (the centre of the first pixel is 0) and the confidence 0..1.

A `.keras` file is different: its model takes normalised pixels, as in keras.applications.
"""

GRAPH_FILE = "saved_model.pb"  # of a SavedModel
SIGNATURE = "serving_default"
INPUT = "images"
LOGITS = "logits"
PROBABILITIES = "probabilities"
EXIT = "exit"
KEYPOINTS = "keypoints"
THRESHOLDS = "thresholds"
THRESHOLDS_SIGNATURE = "with_thresholds"
# 1 / temperature of each step except the last: a constant in the files, next to the thresholds.
SHARPNESS = "sharpness"


def step_signature(step: int) -> str:
    """Returns the name of a step's signature; steps are counted from 0."""
    return f"step_{step}"


def state_name(number: int) -> str:
    """Returns the name of a tensor that one step passes to a later one."""
    return f"state_{number}"
