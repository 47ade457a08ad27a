"""Exports a LeViT as a version of a served model: signatures, picture decoding, warm-up.

`python -m serving.export` is the command, `exporting.export` the function.
"""

from levit_common.lazy import lazy_names

__getattr__ = lazy_names(
    __name__, export="serving.export.exporting", load_model="serving.export.exporting"
)
