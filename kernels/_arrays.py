"""Views and checks that the public kernels share.

Kernels take plain arrays: of `numpy.ndarray` itself, in native byte order, aligned. Numba alone does not hold that: it
remembers the types of arrays that are read-only, unaligned, byte-swapped or of a subclass by what it calls a
fingerprint, which has neither byte order nor class nor alignment in it. So whatever hands arrays to compiled code looks
at their ``type`` and ``dtype`` first, and has `plain` see to those of a subclass; compiled code looks at addresses.
"""

import math

import numpy as np

from fastbp.kernels import _cpu

# Elements that one task of an elementwise kernel takes. Fixed, so that sums over chunks do not depend on the threads.
CHUNK = 16_384
_LONGEST = 100  # letters of a value in an error message
_SMALL = 2**28  # bytes that are always there


def require_real(name: str, key: str, dtype: np.dtype) -> None:
    """Refuse any dtype but float32 and float64 in native byte order."""
    if dtype.char not in "fd" or not dtype.isnative:
        raise TypeError(f"{name}: {key} must be float32 or float64 in native byte order, got {dtype}")


def shown(value: object) -> str:
    """A value in an error message: in one line, and not a long one."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # of an integer with more digits than Python writes, for one
        text = type(value).__name__
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def plain(name: str, **arrays: object) -> list:
    """The arrays as ones of NumPy's own class, on the same memory; what is no array is left as it is.

    Of a subclass only the memory counts, as of `numpy.memmap`. Masked arrays have elements that do not count, and are
    refused.
    """
    return [x if type(x) is np.ndarray else _plain(name, key, x) for key, x in arrays.items()]


def _plain(name: str, key: str, x: object) -> object:
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name}: {key} is a masked array; fill it first, for instance with {key}.filled(0)")
    return np.asarray(x) if isinstance(x, np.ndarray) else x


def check_memory(size: float, *what: str) -> None:
    """Refuse to take more bytes than are free for ``what``, parts of the message.

    Linux grants more memory than there is, and ends a process that uses it.
    """
    if size > _SMALL and size > (free := _cpu.free_memory()):
        raise MemoryError(f"{': '.join(what)} would take {size:,} bytes, and {free:,} are free")


def check_array(name: str, key: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """`check_memory` for an array that is to be made."""
    check_memory(math.prod(shape) * dtype.itemsize, name, key)


def check_output(name: str, key: str, out: np.ndarray) -> None:
    """Refuse an output that cannot be written."""
    if not out.flags.writeable:
        raise TypeError(f"{name}: {key} is an output and must be writable")
    if not out.flags.aligned:
        raise TypeError(f"{name}: {key} is not aligned to its dtype; copy it first")


def check_shape(name: str, key: str, x: object, shape: tuple[int, ...], beside: str, other: np.ndarray) -> None:
    """Refuse what is no array of the ``shape`` that goes with the array ``other``, called ``beside`` by the caller."""
    if not isinstance(x, np.ndarray) or x.shape != shape:
        got = f"the shape {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
        raise ValueError(f"{name}: {key} must be an array of the shape {shape} for {beside} {other.shape}, got {got}")


def alike(name: str, **arrays: np.ndarray) -> list[np.ndarray]:
    """The arrays as `plain` ones, the last one being the output.

    Refuses arrays whose shapes or dtypes differ, naming all of them.
    """
    arrays = dict(zip(arrays, plain(name, **arrays), strict=True))
    for key, value in arrays.items():
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{name}: {key} must be an array, got {type(value).__name__}")
    (key, first), *others = arrays.items()
    require_real(name, key, first.dtype)
    for other_key, other in others:
        if other.shape != first.shape:
            shapes = ", ".join(f"{key} {value.shape}" for key, value in arrays.items())
            raise ValueError(f"{name}: shapes must be equal, got {shapes}")
        if other.dtype != first.dtype:
            raise TypeError(f"{name}: {other_key} must be {first.dtype} as {key} is, got {other.dtype}")
    check_output(name, *others[-1])
    return list(arrays.values())


def check_number(name: str, **numbers: object) -> None:
    """Refuse what is no real number, or one beyond those of float64."""
    for key, value in numbers.items():
        if not isinstance(value, int | float | np.integer | np.floating):
            raise TypeError(f"{name}: {key} must be a number, got {shown(value)}")
        try:
            float(value)
        except OverflowError:
            raise ValueError(f"{name}: {key} must be a number that float64 can hold, got one beyond 1e308") from None


def check_flag(name: str, **flags: object) -> None:
    """Refuse what is neither True nor False."""
    for key, value in flags.items():
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{name}: {key} must be True or False, got {shown(value)}")


_LARGEST = {char: float(np.finfo(char).max) for char in "fd"}


def factors(dtype: np.dtype, *numbers: float) -> list[float]:
    """Numbers for a record of ``dtype``: infinite where it cannot hold them, as compiled code makes them.

    NumPy would do so, too, but warn.
    """
    largest = _LARGEST[dtype.char]
    return [x if -largest <= x <= largest else x * math.inf for x in numbers]


def flat(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """One-dimensional arrays of the same elements in one common order, the last one being the output.

    Views where the memory order of all is the same and they are aligned, else copies; give the output back to `unflat`.
    """
    aligned = all(x.flags.aligned for x in arrays)
    if aligned and all(x.flags.c_contiguous for x in arrays):
        return tuple(x.reshape(-1) for x in arrays)
    if aligned and all(x.flags.f_contiguous for x in arrays):
        return tuple(x.T.reshape(-1) for x in arrays)
    return tuple(np.array(x, order="C").reshape(-1) for x in arrays)


def vectors(*arrays: np.ndarray) -> list[np.ndarray]:
    """Arrays in C order as one-dimensional views; ValueError for others, of which these would be copies."""
    made = []
    for x in arrays:
        if not x.flags.c_contiguous:
            raise ValueError
        made.append(x.ravel())
    return made


def unflat(result: np.ndarray, out: np.ndarray) -> None:
    """Copy a flattened result to ``out`` if it is not a view of it."""
    if not np.may_share_memory(result, out):
        out[...] = result.reshape(out.shape)


def same_or_distinct(name: str, out: np.ndarray, *inputs: np.ndarray) -> None:
    """Refuse an output that shares memory with an input without being the same array element by element."""
    for x in inputs:
        if x is out or not np.may_share_memory(x, out):
            continue
        if x.ctypes.data != out.ctypes.data or x.strides != out.strides:
            raise ValueError(f"{name}: the output overlaps an input that is another array")


def distinct(name: str, out: np.ndarray, *inputs: np.ndarray) -> None:
    """Refuse an output in the memory of an input that is read again after the first write."""
    for x in inputs:
        if np.may_share_memory(x, out):
            raise ValueError(f"{name}: the output must not overlap an input")


def rows(x: np.ndarray) -> np.ndarray:
    """``x`` in C order and aligned, copied if it is not."""
    return np.require(x, requirements=("C", "A")) if not x.flags.aligned else np.ascontiguousarray(x)
