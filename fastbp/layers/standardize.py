"""The layer that brings inputs to a common scale."""

import math
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fastbp import ops
from fastbp._checks import Array, as_numbers, check_finite
from fastbp.layers.layer import Layer

_FENCE = 10  # interquartile ranges from the quartiles to where values are far off
_ENOUGH = 10_000  # samples that tell the quartiles
_CHUNK = 2**20  # elements that are converted to float64 at a time


class Standardize(ops.Standardize, Layer):
    """y = (x - mean) / std, with numbers that training leaves as they are: the first layer of a network.

    A network converts its inputs to its dtype before any layer sees them. float32 has 7 digits: where the mean of a
    feature is more than some thousand times its standard deviation, as with times in seconds, make a network of
    dtype="float64".

    Parameters
    ----------
    mean, std : arrays that broadcast to the shape of a sample
        For images (C, H, W) numbers, or arrays (C, 1, 1). ``std`` is above 0.
    limit : float, optional
        Above 0. With it, z / sqrt(1 + (z / limit)^2) takes the place of z = (x - mean) / std: nearly the same around 0,
        but never beyond the limit, so that a value that lies far off does not outweigh all others.

    Raises
    ------
    TypeError, ValueError
        When a number does not fit.

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Standardize([4, 200], [1, 100]), fb.Affine(2), input_shape=2, seed=0)
    >>> net.layers[0].std
    array([  1., 100.])
    """

    @classmethod
    def of(cls, x: npt.ArrayLike, *, axis: int | tuple[int, ...] | None = None, limit: float | None = None) -> Self:
        """The layer that gives the samples ``x`` the mean 0 and the standard deviation 1.

        What has no spread, or none beyond the rounding of its numbers, keeps its scale and becomes 0. With a limit,
        values that lie more than ten interquartile ranges outside the quartiles count as if they lay there: otherwise
        one of them could make all others look alike.

        Parameters
        ----------
        x : array, shape (N, ...)
            Training samples, as the network will see them.
        axis : int or tuple of int, optional
            Axes of ``x`` with one mean and one standard deviation for all: among them 0. By default 0 for a table
            (N, features), all but 1, the channels, for four axes and more, and all for (N, H, W).
        limit : float, optional
            See the class.

        Raises
        ------
        TypeError, ValueError
            When ``x`` has no samples, is not finite (names the row), or does not fit ``axis``.

        Examples
        --------
        >>> import fastbp as fb
        >>> fb.Standardize.of([[3, 100.0], [5, 300]]).mean
        array([  4., 200.])
        """
        samples = as_numbers(x, "x")
        if samples.ndim < 2 or not samples.size:
            raise ValueError(f"Standardize.of: x must have the shape (N, features) or (N, ...), got {samples.shape}")
        check_finite(samples)
        with np.errstate(over="ignore", invalid="ignore"):  # `Standardize` refuses what comes of it
            mean, std = _moments(samples, _axes(axis, samples.ndim), far=limit is not None)
        if not (np.isfinite(mean) & np.isfinite(std)).all():
            raise ValueError("Standardize.of: values of x lie farther apart than float64 can hold; divide them first")
        return cls(mean[0], std[0], limit)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        self.check_samples(input_shape, self.name)
        return input_shape

    def config(self) -> dict[str, Any]:
        return {"mean": self.mean.tolist(), "std": self.std.tolist(), "limit": self.limit}

    def __repr__(self) -> str:
        def shown(value: Array) -> str:
            return f"{value.item():.4g}" if value.size == 1 else f"<{value.size} numbers>"

        limit = "" if self.limit is None else f", limit={self.limit:g}"
        return f"Standardize({shown(self.mean)}, {shown(self.std)}{limit})"


def _axes(axis: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    """The axes as integers from 0."""
    if axis is None:
        return (0,) if ndim == 2 else tuple(i for i in range(ndim) if i != 1 or ndim == 3)
    axes = np.lib.array_utils.normalize_axis_tuple(axis, ndim, "axis")
    if 0 not in axes:
        raise ValueError(f"Standardize.of: axis must have 0, the samples, among them, got {axis!r}")
    return axes


def _moments(x: Array, axes: tuple[int, ...], *, far: bool) -> tuple[Array, Array]:
    """Mean and standard deviation of ``x`` over ``axes``, which stay with length 1; 1 in place of what is no spread."""
    low, high = (np.asarray(f(x, axis=axes, keepdims=True), np.float64) for f in (np.min, np.max))
    format = np.finfo(x.dtype if x.dtype.kind == "f" else np.float64)
    rounding = 8 * float(format.eps) * np.maximum(abs(low), abs(high)) + float(format.tiny)
    if far:
        low, high = _fences(x, axes, low, high)
    # shares of the range: their squares cannot overflow, and those of a constant are 0, whatever it is
    span = np.where(high > low, high - low, 1.0)
    n = math.prod(x.shape[axis] for axis in axes)

    def total(of: Callable[[Array], Array]) -> Array:
        shares = ((np.clip(part, low, high) - low) / span for part in _parts(x))
        return np.asarray(sum(of(share).sum(axes, keepdims=True) for share in shares))

    mean = total(lambda share: share) / n
    std = span * np.sqrt(total(lambda share: np.square(share - mean)) / n)
    return low + span * mean, np.where(std > rounding, std, 1.0)


def _parts(x: Array) -> Iterator[Array]:
    """The rows of ``x`` in float64, some at a time."""
    step = max(1, _CHUNK // max(1, x[0].size))
    for start in range(0, len(x), step):
        yield x[start : start + step].astype(np.float64)


def _fences(x: Array, axes: tuple[int, ...], low: Array, high: Array) -> tuple[Array, Array]:
    """The range from ``low`` to ``high`` without what lies far outside the quartiles, where these differ."""
    first, third = np.quantile(x[:: -(-len(x) // _ENOUGH)].astype(np.float64), [0.25, 0.75], axis=axes, keepdims=True)
    reach = np.where(third > first, _FENCE * (third - first), np.inf)
    return np.maximum(low, first - reach), np.minimum(high, third + reach)
