"""Measures of a classification."""

import numpy as np
import numpy.typing as npt

from fastbp._checks import Array, check_count


def _classes(values: npt.ArrayLike, name: str) -> Array:
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name} must be class indices of shape (N,), got {array.shape}")
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"{name} must be integers, got dtype {array.dtype}")
    if array.size and array.min() < 0:
        raise ValueError(f"{name} must not be negative, got {array.min()}")
    return array.astype(np.int64)


def _pair(true: npt.ArrayLike, predicted: npt.ArrayLike) -> tuple[Array, Array]:
    t, p = _classes(true, "true"), _classes(predicted, "predicted")
    if len(t) != len(p):
        raise ValueError(f"true and predicted must have the same length, got {len(t)} and {len(p)}")
    return t, p


def confusion_matrix(true: npt.ArrayLike, predicted: npt.ArrayLike, classes: int | None = None) -> Array:
    """Counts by true class (rows) and predicted class (columns).

    Parameters
    ----------
    true, predicted : arrays of int, shape (N,)
        Class indices.
    classes : int, optional
        Number of classes; by default one more than the largest index.

    Returns
    -------
    ndarray of int64, shape (classes, classes)

    Raises
    ------
    ValueError
        When lengths differ or an index is negative or not below ``classes``.
    TypeError
        When the indices are no integers.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.metrics.confusion_matrix([0, 0, 1], [0, 1, 1])
    array([[1, 1],
           [0, 1]])
    """
    t, p = _pair(true, predicted)
    largest = max(t.max(), p.max()) if t.size else -1
    size = int(largest) + 1 if classes is None else check_count(classes, "classes", least=0)
    if largest >= size:
        raise ValueError(f"class {largest} does not exist among {size}")
    return np.bincount(t * size + p, minlength=size * size).reshape(size, size)


def accuracy(true: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Share of equal class indices; ValueError when lengths differ or there are none.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.metrics.accuracy([0, 1, 1, 2], [0, 1, 2, 2])
    0.75
    """
    t, p = _pair(true, predicted)
    if not t.size:
        raise ValueError("there are no samples")
    return float((t == p).mean())
