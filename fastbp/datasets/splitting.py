"""Train and test sets."""

import numpy.typing as npt

from fastbp._checks import Array, as_array, check_lengths, check_number, generator


def split(
    x: npt.ArrayLike, y: npt.ArrayLike, *, test: float = 0.2, seed: int | None = 0
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Split samples at random into a training and a test set.

    Parameters
    ----------
    x, y : arrays of the same length
    test : float
        Share of the test set, above 0 and below 1, rounded to whole samples; each set gets at least one.
    seed : int, optional
        Of the shuffle; None for a different one every time.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)

    Raises
    ------
    ValueError
        When the lengths differ, there are fewer than two samples, or ``test`` is out of range.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> (x_train, y_train), (x_test, y_test) = fb.datasets.split(np.arange(10), np.arange(10), test=0.2)
    >>> len(x_train), len(x_test)
    (8, 2)
    """
    samples, targets = as_array(x, "x"), as_array(y, "y")
    if samples.ndim == 0:
        raise ValueError("x must have samples along its first dimension")
    check_lengths(samples, targets)
    share = check_number(test, "test", above=True)
    if share >= 1:
        raise ValueError(f"test must be below 1, got {test!r}")
    if len(samples) < 2:
        raise ValueError("splitting needs at least 2 samples, got 1")
    size = min(max(1, round(share * len(samples))), len(samples) - 1)
    order = generator(seed).permutation(len(samples))
    first, second = order[size:], order[:size]
    return (samples[first], targets[first]), (samples[second], targets[second])
