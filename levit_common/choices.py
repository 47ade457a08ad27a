"""The values that flags of several commands can have, known before Keras starts.

What a value means is with the code that does it, which takes its names from here.
"""

# What the input of a network holds: see `levit_tf.preprocessing.INPUT_RANGES`.
INPUT_RANGES = ("pixels", "unit", "symmetric", "normalized")
# What becomes of two classification heads: see `levit_tf.LeViT`.
HEADS = ("average", "both", "single")
# Branches that answer early: see `levit_tf.dynamic.exits.add_exits`.
EXIT_KINDS = ("pool", "attention")
# Whose names and layout a state dict has: see `levit_tf.weights.pytorch_names`.
FLAVOURS = ("official", "timm", "timm_conv", "hf")
# The teachers of distillation: see `levit_tf.teachers.regnet.REGNETS`.
REGNETS = ("regnety_160", "regnety_tiny")
# See `levit_tf.teachers.efficientnet_lite.EFFICIENTNET_LITES`.
EFFICIENTNET_LITES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
PYTORCH_PICKLES = (".pth", ".pt", ".bin")
PYTORCH_FILES = (".safetensors", *PYTORCH_PICKLES)
TRUST_HELP = (
    "open SavedModels whose operations read or write files or run Python, as you may where you "
    "know who made them"
)
