"""Loads `.keras` files from any source, with errors that say what is wrong with them."""

from __future__ import annotations

import os
import sys
import zipfile

import keras

from levit_common.files import check_exists
from levit_common.model_sources import KERAS_SOURCES
from levit_common.regular_files import ModelFileError, check_regular, first_line
from levit_common.shipped_names import GRAPH_FILE
from levit_tf.keras_graph.endings import LINEAR, SOFTMAX, ending_of
from levit_tf.opening.keras_files import bounded_variables, check_keras_file, keras_version_in

# Files in the folder of a run: the network at its end, and the best one so far.
FINAL_FILE, BEST_FILE = "final.keras", "best.keras"


def model_path(path: str | os.PathLike) -> str:
    """Returns the path of a model; for the folder of a run, that of its final network.

    Args:
      path: a file, a SavedModel, or the folder of a run of `training.main`.

    Raises:
      ModelFileError: the run is not finished.
    """
    path = os.fspath(path)
    if not os.path.isdir(path) or os.path.exists(os.path.join(path, GRAPH_FILE)):
        return path
    final, best, config = (os.path.join(path, n) for n in (FINAL_FILE, BEST_FILE, "config.json"))
    if os.path.isfile(final):
        print(f"{path}: the folder of a run; taken: {final}", file=sys.stderr)
        return final
    if not os.path.isfile(best) and not os.path.isfile(config):
        return path
    advice = f"Its best network so far is {best}." if os.path.isfile(best) else "It has none yet."
    raise ModelFileError(
        f"{path}: the folder of a run that is not finished ({FINAL_FILE}). {advice}"
    )


def load_keras_file(path: str | os.PathLike) -> keras.Model:
    """Loads a `.keras` file without running any code that it may contain.

    Args:
      path: the file, or a run's folder, see `model_path`.

    Returns:
      The model, not compiled.

    Raises:
      FileNotFoundError: there is no such file.
      ModelFileError: it is truncated, of another kind, or contains a model that Keras cannot build.
    """
    path = model_path(path)
    check_exists(path, "a .keras file")
    if os.path.isdir(path):
        raise ModelFileError(f"{path}: a folder, and none of a run. Expected {KERAS_SOURCES}.")
    check_regular(path)
    # Keras judges the format by the suffix, and reads a file without .keras as HDF5.
    if not path.lower().endswith(".keras") or not zipfile.is_zipfile(path):
        raise ModelFileError(
            f"{path}: truncated, or not a .keras file, which has this suffix and is a zip archive."
        )
    weights = check_keras_file(path)
    try:
        with bounded_variables(weights, path):
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except ModelFileError:
        raise
    except Exception as error:  # A damaged file can raise many types of errors.
        saved_by, hint = keras_version_in(path), ""
        if saved_by not in (None, keras.__version__):
            hint = f" It was saved by Keras {saved_by}; this is Keras {keras.__version__}."
        raise ModelFileError(f"{path}: Keras cannot load it. {first_line(error)}{hint}") from error


def ends_in_softmax(model: keras.Model, source: str) -> bool:
    """Returns whether the output of a model is softmax probabilities; False for logits.

    Args:
      model: a classifier with one output.
      source: the model's file, for the error message.

    Raises:
      ModelFileError: the output is neither.
    """
    ending = ending_of(model)
    if ending not in (SOFTMAX, LINEAR):
        last = (getattr(model, "operations", None) or model.layers)[-1]
        activation = getattr(getattr(last, "activation", None), "__name__", type(last).__name__)
        raise ModelFileError(
            f"{source}: the last layer, {last.name!r}, must have the activation softmax "
            f"(probabilities) or linear (logits). Found: {activation}"
        )
    return ending == SOFTMAX
