"""Where windows lie: against counting them, and all that is refused."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbp.kernels.windows import windows


@given(*[st.integers(1, high) for high in (12, 5, 4, 3)], st.integers(0, 4), st.integers(0, 4))
def test_windows_are_counted(image, size, stride, dilation, before, behind):
    reach = dilation * (size - 1) + 1
    starts = [o for o in range(0, image + before + behind, stride) if o + reach <= image + before + behind]
    numbers = {"stride": stride, "padding": [(before, behind)], "dilation": dilation}
    if not starts:
        with pytest.raises(ValueError, match=r"pool: a window that spans \d+ does not fit into an image of \d+"):
            windows("pool", (image,), size, **numbers)
        return
    assert windows("pool", (image,), size, **numbers).output == (len(starts),)
    # one more in ceil mode, if it starts on the image or the padding before it, and something is left for it
    left_over = starts[-1] + reach < image + before + behind
    more = left_over and starts[-1] + stride < image + before
    assert windows("pool", (image,), size, **numbers, ceil=True).output == (len(starts) + more,)


@given(*[st.integers(1, high) for high in (12, 5, 4, 3)])
def test_same(image, size, stride, dilation):
    on = windows("conv1d", (image,), size, stride, "same", dilation)
    assert on.output == (-(-image // stride),)
    assert 0 <= on.behind[0] - on.before[0] <= 1


def test_every_way_to_say_the_same():
    image = (9, 7)
    expected = windows("conv2d", image, (3, 3), (2, 2), [(1, 1), (1, 1)], (1, 1))
    for size, stride, padding in itertools.product((3, [3, 3]), (2, (2, 2)), (1, (1, 1), ((1, 1), (1, 1)))):
        assert windows("conv2d", image, size, stride, padding) == expected
    assert windows("conv2d", image, 3, 2, "valid").output == (4, 3)


@pytest.mark.parametrize("wrong", [3.0, True, (3.0, 3.0), (True, True), (3, True)])
def test_numbers_that_equal_known_ones_are_refused_all_the_same(wrong):
    """Windows of plain integers are looked up; 3.0 and True are equal to 3 and 1."""
    for known in (3, 1, (3, 3), (1, 1), (3, 1)):
        windows("conv2d", (9, 7), known)
    with pytest.raises(TypeError, match="size must be"):
        windows("conv2d", (9, 7), wrong)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"size": 0}, "size must be positive"),
        ({"size": (3, 3, 3)}, "size must be one integer or 2 integers"),
        ({"size": 3, "stride": 0}, "stride must be positive"),
        ({"size": 3, "stride": -1}, "stride must be positive"),
        ({"size": 3, "dilation": 0}, "dilation must be positive"),
        ({"size": 3, "padding": -1}, "padding must be at least 0"),
        ({"size": 3, "padding": [(1, 1)]}, "padding must have 2 pairs"),
        ({"size": 3, "padding": [(1, 1), (1, 1, 1)]}, "padding must be one integer or 2 integers"),
        ({"size": 3, "padding": "full"}, '"same" or "valid"'),
        ({"size": 6}, "a window that spans 6 x 6 does not fit into an image of 5 x 5"),
    ],
)
def test_wrong_values_are_refused(numbers, message):
    with pytest.raises(ValueError, match=f"^conv2d: .*{message}"):
        windows("conv2d", (5, 5), **numbers)


@pytest.mark.parametrize("key", ["size", "stride", "padding", "dilation"])
@pytest.mark.parametrize("value", [1.5, None, [1, "2"], [(1, 0.5), (1, 1)]])
def test_wrong_types_are_refused(key, value):
    with pytest.raises(TypeError, match=f"^conv2d: {key} must be"):
        windows("conv2d", (5, 5), **{"size": 1} | {key: value})


def test_numbers_that_lead_beyond_integers():
    with pytest.raises(ValueError, match="conv: stride must be at most 2147483647, got 10"):
        windows("conv", (4, 4), 3, stride=10**30)
    one = windows("conv", (4, 4), 3, stride=2**31 - 1)
    assert one.output == one.stride == (1, 1)  # a stride from one window leads nowhere
