"""Checks and conversions of what users pass in: each happens once, at the boundary."""

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.kernels._arrays import shown

Array = npt.NDArray[Any]
Real = np.dtype[Any]

REALS = (np.dtype(np.float32), np.dtype(np.float64))


def real_dtype(dtype: npt.DTypeLike) -> Real:
    """float32 or float64 as a NumPy dtype; ValueError for anything else."""
    with contextlib.suppress(TypeError):
        if dtype is not None and np.dtype(dtype) in REALS:
            return np.dtype(dtype)
    raise ValueError(f"dtype must be float32 or float64, got {shown(dtype)}")


def as_real(value: npt.ArrayLike, dtype: Real, name: str) -> Array:
    """``value`` as an aligned array of ``dtype`` in native byte order, itself where it is one already.

    Integers, booleans and other floats are converted; complex, object, text and dates are refused.
    """
    array = as_numbers(value, name)
    if array.dtype == dtype and array.flags.aligned and all(step % dtype.itemsize == 0 for step in array.strides):
        return np.asarray(array)
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, which `check_finite` finds
        return np.array(array, dtype, order="K")


def common_real(*values: Any, names: Sequence[str]) -> tuple[Array, ...]:
    """All ``values`` in their common dtype, as NumPy promotes them, but float32 at least and float64 at most."""
    arrays = [as_numbers(value, name) for value, name in zip(values, names, strict=True)]
    promoted = np.result_type(np.float32, *(array.dtype for array in arrays))
    dtype = REALS[0] if promoted == REALS[0] else REALS[1]
    return tuple(as_real(array, dtype, name) for array, name in zip(arrays, names, strict=True))


def as_array(value: Any, name: str) -> Array:
    """``value`` as an array of any dtype; ragged lists and masked arrays are refused."""
    try:
        array = np.asanyarray(value)
    except ValueError:
        raise ValueError(f"{name} is no rectangular array: {shown(value)}") from None
    if type(array) is np.ndarray:
        return array
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; fill it first, for instance with {name}.filled(0)")
    return np.asarray(array)


def as_numbers(value: Any, name: str) -> Array:
    """``value`` as an array of integers, booleans or floats of any dtype; TypeError for anything else."""
    array = as_array(value, name)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    return array


def as_samples(value: npt.ArrayLike, shape: tuple[int, ...], dtype: Real, name: str = "x") -> Array:
    """``value`` as an array of samples of the given shape, (N, *shape)."""
    array = as_real(value, dtype, name)
    if array.ndim != len(shape) + 1 or array.shape[1:] != shape:
        wanted = ", ".join(["N", *map(str, shape)])
        hint = ""
        if array.shape == shape:
            hint = f"; one sample is {name}[None]"
        raise ValueError(f"{name} must have the shape ({wanted}), got {array.shape}{hint}")
    return array


def check_finite(x: Array, name: str = "x", given: npt.ArrayLike | None = None) -> None:
    """Refuse NaN and infinity, naming the first row that has one; ``given`` is what ``x`` was converted from."""
    step = max(1, 2**20 // max(1, x[:1].size))
    for start in range(0, len(x), step):
        rows = np.isfinite(x[start : start + step].reshape(len(x[start : start + step]), -1)).all(axis=1)
        if not rows.all():
            row = start + int(np.argmin(rows))
            place = int(np.argmin(np.isfinite(x[row]).reshape(-1)))
            original = np.asarray(x if given is None else given)[row].reshape(-1)[place]
            why = f", more than {x.dtype} can hold" if np.isfinite(original) else ""
            raise ValueError(f"{name} must be finite, but row {row} holds {original}{why}")


def check_count(value: Any, name: str, least: int = 1) -> int:
    """``value`` as an integer of at least ``least``."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer, got {shown(value)}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return int(value)


def as_number(value: Any, name: str) -> float:
    """``value`` as a float; TypeError for what is none, such as an array with axes or a variable of a graph."""
    try:
        if isinstance(value, str | bytes | bool | np.bool_) or np.asarray(value).ndim:
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {shown(value)}") from None
    except OverflowError:
        return float("inf") if value > 0 else -float("inf")


def check_number(value: Any, name: str, least: float = 0.0, *, above: bool = False) -> float:
    """``value`` as a finite float of at least (or above) ``least``."""
    number = as_number(value, name)
    if not np.isfinite(number) or number < least or (above and number == least):
        wanted = f"above {least:g}" if above else f"at least {least:g}"
        raise ValueError(f"{name} must be finite and {wanted}, got {shown(value)}")
    return number


def check_flag(value: Any, name: str) -> bool:
    """``value`` as a bool; TypeError for what is none, such as a text that says no."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def check_shape(value: Any, name: str) -> tuple[int, ...]:
    """``value``, an integer or a sequence of integers of at least 1, as a tuple."""
    sizes = (value,) if isinstance(value, int | np.integer) else value
    if not isinstance(sizes, tuple | list) and not (isinstance(sizes, np.ndarray) and sizes.ndim == 1):
        raise TypeError(f"{name} must be an integer or a tuple of integers, got {shown(value)}")
    if len(sizes) > 1 and any(isinstance(size, int | np.integer) and size < 1 for size in sizes):
        raise ValueError(f"{name} must be integers of at least 1, got {shown(value)}")
    return tuple(check_count(size, name) for size in sizes)


def memory() -> int:
    """Bytes of memory that this machine has, as far as it says; it may well promise arrays that do not fit."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # AttributeError: Windows
        return sys.maxsize


def generator(seed: Any) -> np.random.Generator:
    """A random generator from a seed: an integer of at least 0, or None for a different one every time."""
    return np.random.default_rng(None if seed is None else check_count(seed, "seed", least=0))


def check_lengths(x: Array, y: Array, names: tuple[str, str] = ("x", "y")) -> None:
    """Refuse samples and targets of different number, or none."""
    if y.ndim == 0 or len(x) != len(y):
        got = "a single number" if y.ndim == 0 else f"{len(y)} targets"
        raise ValueError(f"{' and '.join(names)} must have the same length, got {len(x)} samples and {got}")
    if len(x) == 0:
        raise ValueError(f"{names[0]} has no samples")


def check_outputs(u: Array, t: Array) -> None:
    """Refuse outputs that are not (N, O), and targets of another number."""
    if u.ndim != 2:
        raise ValueError(f"u must have the shape (N, O), got {u.shape}")
    check_lengths(u, t, ("u", "t"))


def class_targets(t: Array, classes: int, dtype: Real) -> Array:
    """Targets of a classification: class indices (N,) as int64, or 1-of-K rows (N, classes) as ``dtype``."""
    if t.ndim == 2:
        return as_one_of_k(t, classes, dtype)
    if t.ndim != 1:
        raise ValueError(f"targets must be class indices (N,) or 1-of-K rows (N, {classes}), got {t.shape}")
    return as_labels(t, classes)


def real_targets(t: Array, outputs: int, dtype: Real) -> Array:
    """Targets of a regression (N, outputs) as ``dtype``; with one output also (N,)."""
    if outputs == 1 and t.ndim == 1:
        t = t[:, None]
    if t.ndim != 2 or t.shape[1] != outputs:
        also = ", or (N,)" if outputs == 1 else ""
        raise ValueError(f"targets must have the shape (N, {outputs}){also}, got {t.shape}")
    converted = np.ascontiguousarray(as_real(t, dtype, "targets"))
    check_finite(converted, "targets", t)
    return converted


def share_targets(t: Array, outputs: int, dtype: Real) -> Array:
    """Targets from 0 to 1 (N, outputs) as ``dtype``; with one output also (N,)."""
    converted = real_targets(t, outputs, dtype)
    wrong = ((converted < 0) | (converted > 1)).any(axis=1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"targets must be from 0 to 1, but row {row} is {converted[row].tolist()}")
    return converted


def as_labels(y: Array, classes: int) -> npt.NDArray[np.int64]:
    """Class indices as int64; each must be from 0 to classes - 1."""
    if y.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers (class indices), got dtype {y.dtype}")
    labels = np.ascontiguousarray(y, np.int64)
    if y.size and labels.view(np.uint64).max() >= classes:  # without their sign, negative ones are the largest
        row = int(np.argmax((y < 0) | (y >= classes)))
        raise ValueError(f"labels must be from 0 to {classes - 1}, but row {row} has {y[row]}")
    return labels


def as_one_of_k(y: Array, classes: int, dtype: Real) -> Array:
    """1-of-K rows (or probabilities) as ``dtype``; each row must be non-negative and sum to 1."""
    if y.shape[1] != classes:
        raise ValueError(f"1-of-K targets must have the shape (N, {classes}), got {y.shape}")
    t = np.ascontiguousarray(as_real(y, dtype, "y"))
    # each entry was rounded once, by at most eps / 2 of itself, and their sum is 1
    tolerance = max(classes, 8) * float(np.finfo(dtype).eps)
    if y.dtype.kind == "f":
        tolerance = max(tolerance, classes * float(np.finfo(y.dtype).eps))
    wrong = ~((np.abs(t.sum(axis=1, dtype=np.float64) - 1) <= tolerance) & (t >= 0).all(axis=1))
    if wrong.any():
        row = int(np.argmax(wrong))
        total = float(t[row].sum(dtype=np.float64))
        raise ValueError(f"1-of-K rows must be non-negative and sum to 1, but row {row} sums to {total:g}")
    return t
