"""TF Serving around LeViT: exports for it, a stand-in that speaks its protocol, a client, load."""

import sys

if sys.argv[:1] == ["-m"] and "serving.export" in sys.orig_argv:
    # Which keeps TensorFlow quiet while it starts. The other commands start without it.
    import levit_tf  # noqa: F401
