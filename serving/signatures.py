"""Names in what is served: the one definition for the export, the client, the tests and the page.

A served version has three signatures:

- `serving_default` takes `image_bytes`, string (batch,): contents of picture files of any sizes,
  which are decoded, turned upright and resized in the graph;
- `image_tensor` takes `images`, float32 (batch, height, width, 3): plain RGB 0..255;
- `classify` takes `inputs`, string (batch,): serialized `tf.Example`s with the contents of such a
  file as the bytes feature `image/encoded`.

A classifier returns by all of them `classes`, string (batch, k), and `scores`, float32 (batch, k):
the likeliest classes by name, best first, with their probabilities. The first two return
`probabilities`, float32 (batch, classes), in the order of the classes, and `image_tensor` also
`logits` of that shape.

A classifier in steps (`levit_tf.dynamic`) returns `exit`, int32 (batch,), by the first two: which
step answered. Its fourth signature, `with_thresholds`, is `image_tensor` with `thresholds`, float32
(steps - 1,), in place of those that it was exported with.

A network that finds joints has the first two, which return `keypoints`, float32 (batch, joints, 3):
x and y in pixels of the picture that was sent, the middle of the first being 0, and confidence
0..1; and `joints`, string (batch, joints): their names.

The names that a SavedModel or a TFLite file of the converters has too are theirs. No package that
is slow to start is imported here, so that a client starts quickly.
"""

from __future__ import annotations

from levit_common.shipped_names import (
    EXIT,
    INPUT,
    KEYPOINTS,
    LOGITS,
    PROBABILITIES,
    SIGNATURE,
    THRESHOLDS,
    THRESHOLDS_SIGNATURE,
)

__all__ = ["EXIT", "KEYPOINTS", "LOGITS", "PROBABILITIES", "THRESHOLDS", "THRESHOLDS_SIGNATURE"]

SERVING_DEFAULT = SIGNATURE
IMAGE_TENSOR = "image_tensor"
CLASSIFY = "classify"
# In SignatureDef.method_name; the Classify method of TF Serving accepts only the latter.
PREDICT_METHOD = "tensorflow/serving/predict"
CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"

IMAGE_BYTES = "image_bytes"  # input of SERVING_DEFAULT
IMAGES = INPUT  # input of IMAGE_TENSOR
EXAMPLES = "inputs"  # input of CLASSIFY; TF Serving prescribes the name
ENCODED_FEATURE = "image/encoded"  # bytes feature of an example

CLASSES = "classes"  # TF Serving prescribes this name and the next for CLASSIFY
SCORES = "scores"
JOINTS = "joints"

# signature -> its outputs
OUTPUTS = {
    SERVING_DEFAULT: (CLASSES, SCORES, PROBABILITIES),
    IMAGE_TENSOR: (CLASSES, SCORES, PROBABILITIES, LOGITS),
    CLASSIFY: (CLASSES, SCORES),
}


def outputs_of(signature: str, is_dynamic: bool) -> tuple[str, ...]:
    """The outputs of a signature; a classifier in steps tells which one answered."""
    known = OUTPUTS[IMAGE_TENSOR if signature == THRESHOLDS_SIGNATURE else signature]
    return (*known, EXIT) if is_dynamic and signature != CLASSIFY else known


OF_JOINTS = (KEYPOINTS, JOINTS)  # of both signatures of a network that finds joints
# Of IMAGE_TENSOR in a `model.tflite`, which has no strings.
TFLITE_OUTPUTS, TFLITE_OF_JOINTS = (PROBABILITIES, LOGITS), (KEYPOINTS,)

TOP_K = 5  # how many classes are named, where there are so many
LABELS_ASSET = "assets/labels.txt"  # in a version directory: one class name a line
WARMUP_RECORDS = "assets.extra/tf_serving_warmup_requests"  # TF Serving prescribes the path
TFLITE_MODEL = "model.tflite"  # TF Serving prescribes the name
