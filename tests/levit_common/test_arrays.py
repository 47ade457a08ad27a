import numpy as np
import pytest
from PIL import Image

from levit_common.arrays import luma, softmax, spread_indices


@pytest.mark.parametrize(
    ("size", "count", "expected"),
    [
        (100, 5, [0, 24, 49, 74, 99]),
        (3, 10, [0, 1, 2]),
        (4, None, [0, 1, 2, 3]),
        (7, 1, [0]),
    ],
)
def test_indices_are_spread_over_all_and_never_come_twice(size, count, expected):
    assert spread_indices(size, count).tolist() == expected


@pytest.mark.parametrize(
    ("dtype", "expected"), [("float16", "float32"), ("float32", "float32"), ("float64", "float64")]
)
def test_softmax_of_large_logits_neither_overflows_nor_loses_precision(dtype, expected):
    found = softmax(np.array([[1000.0, 1001.0], [-5.0, -5.0]], dtype))
    assert found.dtype == expected
    share = 1 / (1 + np.e)
    np.testing.assert_allclose(found, [[share, 1 - share], [0.5, 0.5]], rtol=1e-6)


def test_luma_is_that_of_pillow():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    expected = np.asarray(Image.fromarray(pixels).convert("L"), np.float32)[..., None]
    found = luma(pixels)
    assert (found.shape, found.dtype) == ((5, 7, 1), np.float32)
    np.testing.assert_allclose(found, expected, atol=0.51)
