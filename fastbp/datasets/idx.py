"""Reader of IDX files, as the MNIST family uses them, plain or compressed by gzip.

IDX: two zero bytes, a byte for the type, a byte for the number of dimensions, the sizes as big-endian 32-bit integers,
then the elements in row-major order and big-endian. Described with the MNIST database of Y. LeCun, C. Cortes and
C. Burges.
"""

import gzip
import math
import os
import struct
import zlib
from typing import BinaryIO

import numpy as np

from fastbp._checks import Array
from fastbp.datasets.opening import GZIP, IDX, File, opened

_MOST_DIMENSIONS = 64  # of an array
_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CHUNK = 2**20


def read_idx(path: File) -> Array:
    """The array of an IDX file, plain or compressed by gzip, in native byte order.

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        When it is no IDX file, or its length does not fit its header.
    """
    with opened(path) as file:
        return parse(file, os.fsdecode(path))


def parse(file: BinaryIO, name: str) -> Array:
    """The array of an IDX file that is open; ``name`` is for errors."""
    start = file.read(2)
    file.seek(0)
    if start != GZIP:
        return _parse(file, name)
    try:
        with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
            return _parse(unpacked, name)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{name} is no readable gzip file: {error}") from None


def _parse(stream: BinaryIO | gzip.GzipFile, name: str) -> Array:
    head = _take(stream, 4)
    if len(head) < 4 or head[:2] != IDX or head[2] not in _TYPES:
        raise ValueError(f"{name} is no IDX file: it starts with {head.hex(' ') or 'nothing'}")
    dtype, ndim = np.dtype(_TYPES[head[2]]), head[3]
    if ndim > _MOST_DIMENSIONS:
        raise ValueError(f"{name} has {ndim} dimensions, more than arrays can have ({_MOST_DIMENSIONS})")
    sizes = _take(stream, 4 * ndim)
    if len(sizes) < 4 * ndim:
        raise ValueError(f"{name} is cut off: its header has {ndim} dimensions")
    shape = struct.unpack(f">{ndim}I", sizes)
    expected = math.prod(shape) * dtype.itemsize
    data = _take(stream, expected + 1)  # one more, to see whether it ends there
    if len(data) != expected:
        held = "more" if len(data) > expected else len(data)
        raise ValueError(f"{name} should hold {expected} bytes for the shape {shape}, but holds {held}")
    try:
        array: Array = np.ndarray(shape, dtype, data)
    except ValueError:  # without elements, but the other sizes are too large
        raise ValueError(f"{name} has the shape {shape}, which no array can have") from None
    return array.astype(dtype.newbyteorder("="), copy=False)


def _take(stream: BinaryIO | gzip.GzipFile, size: int) -> bytearray:
    """At most ``size`` bytes; it takes as much memory as there are, whatever a header promises."""
    data = bytearray()
    while len(data) < size and (chunk := stream.read(min(size - len(data), _CHUNK))):
        data += chunk
    return data
