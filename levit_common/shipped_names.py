"""Names in the files that are shipped: the one definition for those who write and who read them.

A SavedModel and a TFLite file have a signature `serving_default` with

- the input `images`: (batch, height, width, 3), plain RGB values 0..255, because mean and standard
  deviation are part of the graph; float32, and in a fully quantised TFLite file uint8 or int8;
- the output `logits`: (batch, classes);
- the output `probabilities`: (batch, classes), the softmax of the logits.

A `.keras` file is another matter: its model takes normalised pixels, as in keras.applications.
"""

SIGNATURE = "serving_default"
INPUT = "images"
LOGITS = "logits"
PROBABILITIES = "probabilities"
