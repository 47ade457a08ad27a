"""What flags offer is what there is: names that commands know before Keras starts."""

from converters import choices
from converters.tflite import recipes
from levit_common.choices import EFFICIENTNET_LITES, INPUT_RANGES, REGNETS
from levit_tf import preprocessing
from levit_tf.teachers import efficientnet_lite, regnet


def test_each_name_that_a_flag_takes_is_made_and_each_that_is_made_can_be_asked_for():
    assert set(recipes.RECIPES) == set(choices.RECIPES)
    assert set(choices.TARGETS) <= set(choices.RECIPES)
    assert tuple(preprocessing.INPUT_RANGES) == INPUT_RANGES
    assert tuple(regnet.REGNETS) == REGNETS
    assert tuple(efficientnet_lite.EFFICIENTNET_LITES) == EFFICIENTNET_LITES
