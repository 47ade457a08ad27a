"""The packages of quantisation-aware training, imported without their side effects.

tensorflow-model-optimization works on tf_keras, which is Keras 2. Importing it sets an environment
variable that decides, here and in child processes, what `tf.keras` means. Nothing of this project
uses `tf.keras`, but programs around it may: importing this module leaves it as it was.
"""

from __future__ import annotations

import os
import warnings

import tensorflow as tf

_VARIABLE = "TF_USE_LEGACY_KERAS"


def _import():
    _ = tf.keras.__version__  # settles what it means, before tfmot can
    before = os.environ.get(_VARIABLE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it asks distutils for version numbers
            import tensorflow_model_optimization as tfmot
            import tf_keras
    except ImportError as error:
        raise ImportError(
            "Quantisation-aware training needs tensorflow-model-optimization and tf-keras: "
            'pip install "levit_tf[qat]"'
        ) from error
    finally:
        os.environ.pop(_VARIABLE, None)
        if before is not None:
            os.environ[_VARIABLE] = before
    return tf_keras, tfmot


tf_keras, tfmot = _import()
