"""Names in served models, defined once for the export, the client, the tests and the page.

A served version has three signatures:

- `serving_default` takes `image_bytes`, string (batch,): contents of picture files of any size,
  which are decoded, turned upright and resized in the graph;
- `image_tensor` takes `images`, float32 (batch, height, width, 3): plain RGB 0..255;
- `classify` takes `inputs`, string (batch,): serialised `tf.Example`s with the contents of such a
  file as the bytes feature `image/encoded`.

From all three, a classifier returns `classes`, string (batch, k), and `scores`, float32 (batch, k):
the names of the most probable classes, best first, and their probabilities. The first two also
return `probabilities`, float32 (batch, classes), in the order of the classes, and `image_tensor`
also returns `logits` of that shape.

A dynamic classifier (`levit_tf.dynamic`) also returns `exit`, int32 (batch,), from the first two:
the exit that was used. Its fourth signature, `with_thresholds`, is `image_tensor` with
`thresholds`, float32 (steps - 1,), in place of those from the export.

A network that predicts joints has the first two signatures. They return `keypoints`, float32
(batch, joints, 3): x and y in pixels of the sent picture, where 0 is the centre of the first pixel,
and confidence 0..1; and `joints`, string (batch, joints): their names. Its third signature,
`boxes`, takes `image_bytes` and `boxes`, float32 (batch, 4): y1, x1, y2, x2 of a person in pixels
of each picture. It returns the same for that person.

Names that a SavedModel or a TFLite file of the converters has as well are imported from there. No
package that is slow to import is used here, so that a client starts quickly.
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
BOXES = "boxes"  # also the name of its second input
# Values of SignatureDef.method_name; the Classify method of TF Serving accepts only the second.
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

# From a signature to its outputs.
OUTPUTS = {
    SERVING_DEFAULT: (CLASSES, SCORES, PROBABILITIES),
    IMAGE_TENSOR: (CLASSES, SCORES, PROBABILITIES, LOGITS),
    CLASSIFY: (CLASSES, SCORES),
}


def outputs_of(signature: str, is_dynamic: bool) -> tuple[str, ...]:
    """Returns the outputs of a signature; a dynamic classifier also returns the exit used."""
    known = OUTPUTS[IMAGE_TENSOR if signature == THRESHOLDS_SIGNATURE else signature]
    return (*known, EXIT) if is_dynamic and signature != CLASSIFY else known


OF_JOINTS = (KEYPOINTS, JOINTS)  # for all signatures of a network that predicts joints
# For IMAGE_TENSOR in a `model.tflite`, which has no strings.
TFLITE_OUTPUTS, TFLITE_OF_JOINTS = (PROBABILITIES, LOGITS), (KEYPOINTS,)

TOP_K = 5  # number of classes to return, if there are as many
LABELS_ASSET = "assets/labels.txt"  # in the folder of a version: one class name per line
WARMUP_RECORDS = "assets.extra/tf_serving_warmup_requests"  # TF Serving prescribes the path
TFLITE_MODEL = "model.tflite"  # TF Serving prescribes the name
