"""Readers of data files: .npz, and IDX as the MNIST family uses it, plain or compressed by gzip.

IDX: two zero bytes, a byte for the type, a byte for the number of dimensions, the sizes as big-endian 32-bit integers,
then the elements in row-major order and big-endian. Described with the MNIST database of Y. LeCun, C. Cortes and
C. Burges.
"""

import gzip
import math
import os
import struct
import zlib
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from fastbp._checks import Array

File = str | PathLike[str]

_ZIP = b"PK"  # how every .zip file starts, and an .npz file is one
_MOST_DIMENSIONS = 64  # of an array
_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_npz(path: File) -> dict[str, Array]:
    """The arrays of an .npz file, by name.

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        When it is no .npz file, is damaged, or holds Python objects.
    """
    with Path(path).open("rb") as file:
        if file.read(2) != _ZIP:
            raise ValueError(f"{os.fspath(path)} is no readable .npz file: it does not start like one")
        file.seek(0)
        try:
            archive = np.load(file, allow_pickle=False)
            return {name: archive[name] for name in archive.files}
        except Exception as error:  # a flipped byte can cause nearly any
            raise ValueError(f"{os.fspath(path)} is no readable .npz file: {error}") from None


def read_idx(path: File) -> Array:
    """The array of an IDX file, plain or compressed by gzip, in native byte order.

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        When it is no IDX file, or its length does not fit its header.
    """
    name = os.fspath(path)
    data = Path(path).read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{name} is no readable gzip file: {error}") from None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES:
        raise ValueError(f"{name} is no IDX file: it starts with {data[:4].hex(' ') or 'nothing'}")
    dtype, ndim = np.dtype(_IDX_TYPES[data[2]]), data[3]
    if ndim > _MOST_DIMENSIONS:
        raise ValueError(f"{name} has {ndim} dimensions, more than arrays can have ({_MOST_DIMENSIONS})")
    start = 4 + 4 * ndim
    if len(data) < start:
        raise ValueError(f"{name} is cut off: its header has {ndim} dimensions")
    shape = struct.unpack(f">{ndim}I", data[4:start])
    expected = math.prod(shape) * dtype.itemsize
    if len(data) - start != expected or max(shape, default=0) * dtype.itemsize > len(data):
        raise ValueError(f"{name} should hold {expected} bytes for the shape {shape}, but holds {len(data) - start}")
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def read(paths: Sequence[File], *, labels: bool = True) -> tuple[Array, Array | None]:
    """Samples and labels from one .npz file with arrays x and y, or from two IDX files (images, labels).

    Parameters
    ----------
    paths : one or two paths
    labels : bool
        Whether labels are required; without, y may be missing from the .npz file and one IDX file suffices.

    Returns
    -------
    x : ndarray
        uint8 images are divided by 255 and become float32; anything else is left as it is.
    y : ndarray or None

    Raises
    ------
    OSError
        When a file cannot be read.
    ValueError
        When a file is damaged, an array is missing, or the lengths differ.
    """
    if not 1 <= len(paths) <= 2:
        raise ValueError(f"data must be one .npz file or two IDX files, got {len(paths)} files")
    y = None
    with Path(paths[0]).open("rb") as file:
        start = file.read(2)
    if start == _ZIP:
        if len(paths) > 1:
            raise ValueError("data must be one .npz file or two IDX files, not both")
        arrays = read_npz(paths[0])
        for name in ("x", "y") if labels else ("x",):
            if name not in arrays:
                held = ", ".join(arrays) or "none"
                raise ValueError(f"{os.fspath(paths[0])} has no array {name!r}; it holds {held}")
        x, y = arrays["x"], arrays.get("y")
    else:
        if len(paths) < 2 and labels:
            raise ValueError(f"{os.fspath(paths[0])} is no .npz file; IDX data needs two files, images and labels")
        x = read_idx(paths[0])
        y = read_idx(paths[1]) if len(paths) > 1 else None
    if x.ndim == 0:
        raise ValueError("x must have samples along its first dimension")
    if y is not None and (y.ndim == 0 or len(x) != len(y)):
        raise ValueError(f"x and y must have the same length, got shapes {x.shape} and {y.shape}")
    if x.dtype == np.uint8:
        x = x.astype(np.float32) / np.float32(255)
    return x, y
