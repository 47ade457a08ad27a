"""The attention bias depends on |dy| and |dx| alone, on grids of any shape."""

import itertools

import numpy as np
import pytest

from levit_tf.attention_bias import attention_bias_index, resize_attention_bias

GRIDS = [(1, 1), (4, 4), (3, 5), (5, 3), (14, 20), (1, 7)]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("stride", [1, 2])
def test_index_is_the_offset_of_row_major_tokens(grid, stride):
    height, width = grid
    keys = list(itertools.product(range(height), range(width)))
    queries = list(itertools.product(range(0, height, stride), range(0, width, stride)))
    expected = [[abs(qy - ky) * width + abs(qx - kx) for ky, kx in keys] for qy, qx in queries]
    np.testing.assert_array_equal(attention_bias_index(grid, stride), expected)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("stride", [1, 2])
def test_index_numbers_offsets_in_the_order_in_which_the_official_code_meets_them(grid, stride):
    # levit.py numbers an offset when it first occurs, queries outside, keys inside.
    seen = {}
    height, width = grid
    for qy, qx in itertools.product(range(0, height, stride), range(0, width, stride)):
        for ky, kx in itertools.product(range(height), range(width)):
            seen.setdefault((abs(qy - ky), abs(qx - kx)), len(seen))
    assert len(seen) == height * width
    assert all(number == dy * width + dx for (dy, dx), number in seen.items())
    np.testing.assert_array_equal(
        np.unique(attention_bias_index(grid, stride)), np.arange(height * width)
    )


def test_expansion_looks_each_pair_up():
    table = np.arange(2 * 6, dtype=np.float32).reshape(2, 6)
    bias = table[:, attention_bias_index((2, 3))]
    assert bias.shape == (2, 6, 6)
    assert bias[1, 0, 5] == table[1, 1 * 3 + 2]  # from (0, 0) to (1, 2)
    assert bias[1, 5, 0] == bias[1, 0, 5]


def test_resizing_to_the_same_grid_changes_nothing():
    table = np.random.default_rng(0).normal(size=(3, 20)).astype(np.float32)
    np.testing.assert_array_equal(resize_attention_bias(table, (4, 5), (4, 5)), table)


@pytest.mark.parametrize(
    ("source", "target"), [((14, 14), (18, 18)), ((14, 14), (16, 20)), ((7, 4), (3, 9))]
)
def test_resizing_keeps_the_nearest_and_the_farthest_offset_and_linear_tables(source, target):
    rows, columns = np.linspace(0, 1, source[0]), np.linspace(0, 1, source[1])
    table = (2 * rows[:, None] - 3 * columns[None, :] + 1).reshape(1, -1).astype(np.float32)
    resized = resize_attention_bias(table, source, target)
    rows, columns = np.linspace(0, 1, target[0]), np.linspace(0, 1, target[1])
    expected = (2 * rows[:, None] - 3 * columns[None, :] + 1).reshape(1, -1)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, expected, atol=1e-6)


def test_resizing_from_and_to_a_grid_of_one_row():
    table = np.array([[1.0, 2.0, 3.0]], np.float32)
    np.testing.assert_allclose(
        resize_attention_bias(table, (1, 3), (2, 5)), [[1, 1.5, 2, 2.5, 3] * 2]
    )
    np.testing.assert_allclose(resize_attention_bias(np.arange(4.0)[None], (2, 2), (1, 1)), [[0.0]])


def test_resizing_a_table_that_does_not_fit_its_grid_is_an_error():
    with pytest.raises(ValueError, match=r"3x5 grid has shape \(heads, 15\).*\(2, 16\)"):
        resize_attention_bias(np.zeros((2, 16)), (3, 5), (4, 4))
