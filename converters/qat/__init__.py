"""Quantisation-aware training: networks that know how int8 rounds, and the int8 files of them.

They are copies in tf_keras, the Keras 2 that tensorflow-model-optimization works with: `twin` makes
the copy. `python -m converters.qat` writes the file that a network was trained for.
"""

from levit_common.lazy import lazy_names

__getattr__ = lazy_names(
    __name__, convert="converters.qat.conversion", export="converters.qat.conversion"
)
