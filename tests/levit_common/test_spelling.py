import pytest

from levit_common.spelling import did_you_mean, shortened


@pytest.mark.parametrize(
    ("name", "known", "cutoff", "expected"),
    [
        ("epoch", ["seed", "epochs"], 0.6, " Did you mean 'epochs'?"),
        ("CIFAR1O", ["cifar10", "digits"], 0.6, " Did you mean 'cifar10'?"),
        ("xyz", ["seed", "epochs"], 0.6, ""),
        ("xyz", ["seed", "epochs"], 0, " Did you mean 'seed'?"),
        ("xyz", [], 0, ""),
    ],
)
def test_the_nearest_name_is_offered_where_one_is_near(name, known, cutoff, expected):
    assert did_you_mean(name, known, cutoff) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ""),
        (["ant", "b\ne"], "ant; b\\ne"),
        ([str(n) for n in range(1002)], "0; 1 and 1,000 more"),
    ],
)
def test_the_first_of_many_names_are_listed(names, expected):
    assert shortened(names, 2, "; ") == expected
