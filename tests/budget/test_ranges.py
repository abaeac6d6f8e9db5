import pytest

from shoestring.budget.ranges import Range, total


def test_arithmetic():
    a, b = Range(1, 2, 4), Range.around(10, 0.5, 1.0)
    assert b == Range(5, 10, 20)
    assert a + b == Range(6, 12, 24)
    assert a * b == Range(5, 20, 80)
    assert a * 3 == Range(3, 6, 12)
    assert a.over(b) == Range(1 / 20, 2 / 10, 4 / 5)
    assert total([a, a, Range.exact(1)]) == Range(3, 5, 9)
    assert a.holds(1)
    assert a.holds(4)
    assert not a.holds(4.1)
    assert a.map(lambda x: min(x, 3)) == Range(1, 2, 3)
    assert a.map(lambda x: 10 - x) == Range(6, 8, 9)


def test_ends_must_be_in_order():
    with pytest.raises(ValueError, match="does not hold"):
        Range(2, 1, 3)
