"""Allowed values of flags that several commands share; importing them does not start Keras.

The code that implements a value explains its meaning, and imports its name from here.
"""

# Ranges of a network's input values: see `levit_tf.preprocessing.INPUT_RANGES`.
INPUT_RANGES = ("pixels", "unit", "symmetric", "normalized")
# How two classification heads are used: see `levit_tf.LeViT`.
HEADS = ("average", "both", "single")
# Kinds of early-exit branches: see `levit_tf.dynamic.exits.add_exits`.
EXIT_KINDS = ("pool", "attention")
# Naming and layout of a state dict: see `levit_tf.weights.pytorch_names`.
FLAVOURS = ("official", "timm", "timm_conv", "hf")
# Teachers for distillation: see `levit_tf.teachers.regnet.REGNETS`.
REGNETS = ("regnety_160", "regnety_tiny")
# Small teachers: see `levit_tf.teachers.efficientnet_lite.EFFICIENTNET_LITES`.
EFFICIENTNET_LITES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
PYTORCH_PICKLES = (".pth", ".pt", ".bin")
PYTORCH_FILES = (".safetensors", *PYTORCH_PICKLES)
TRUST_HELP = (
    "open SavedModels whose operations read or write files or run Python; do so only if you trust "
    "the author of the file"
)
