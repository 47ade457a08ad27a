"""Files that earlier versions wrote load, and answer as they did."""

from pathlib import Path

import keras
import numpy as np
import pytest

import levit_tf
from converters.qat.qat_model import load_quantized
from tests.support.saved_files import ANSWERS, KINDS, SIZE, answers

FOLDER = Path(__file__).parents[1] / "saved_files"
TOLERANCE = 1e-5  # of the largest value, float32; other versions of TensorFlow sum in other orders


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_an_earlier_version_answers_as_it_did(kind):
    model = keras.models.load_model(FOLDER / f"{kind}.keras")
    with np.load(FOLDER / ANSWERS) as said:
        expected = [said[name] for name in said.files if name.startswith(f"{kind}/")]
    found = answers(model, kind)
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert np.ptp(other, axis=0).max() > 0.01  # pictures do not all get the same answer
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE * np.abs(other).max())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["train-form", "fused", "trained-for-int8"])
def test_a_file_of_an_earlier_version_says_what_it_is(kind):
    said = levit_tf.model_properties(keras.models.load_model(FOLDER / f"{kind}.keras"))
    assert list(said.class_names) == ["ant", "bee", "wasp"]
    assert said.input_size == (SIZE, SIZE)


def test_ranges_that_an_earlier_version_learned_are_read():
    assert load_quantized(FOLDER / "trained-for-int8.keras").ranges == {"stem_conv1": (-1.5, 2.5)}


def test_every_file_that_is_kept_is_tested():
    assert {path.stem for path in FOLDER.glob("*.keras")} == set(KINDS)
