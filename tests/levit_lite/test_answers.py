"""What is written of a picture's answer has one form, whoever writes it."""

import json

import numpy as np

from levit_common.shipped_names import EXIT
from levit_lite.prediction.answers import answer_of

NAMES = ["ant", "bee", "cat"]
SCORES = np.array([0.25, 0.125, 0.625], np.float32)


def test_the_likeliest_classes_come_first():
    found = answer_of(SCORES, NAMES, 2)
    assert found == {
        "top": [
            {"class": "cat", "index": 2, "probability": 0.625},
            {"class": "ant", "index": 0, "probability": 0.25},
        ]
    }
    assert len(answer_of(SCORES, NAMES, 9)["top"]) == 3


def test_a_file_with_steps_tells_which_one_answered_in_words_that_json_has():
    found = answer_of(SCORES, NAMES, 1, np.int32(0))
    assert json.loads(json.dumps(found))[EXIT] == 0
