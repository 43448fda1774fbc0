"""Reader of .npz files: zip archives of one .npy file per array, a header with shape and dtype and then the elements.

Memory is taken for those arrays alone that somebody asks for, and no more than there are bytes: what header, directory
of the archive and length of the file say must agree before any elements are decompressed.
"""

import contextlib
import io
import math
import os
import zipfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from fastbp._checks import Array, Real
from fastbp.datasets.opening import ZIP, File, opened

_MOST_DEFLATED = 1032  # bytes that one compressed byte can stand for: 258 by two bits
_LONGEST_HEADER = 10_000  # bytes; more is not safe to parse
_CHUNK = 2**20
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class ZipFile(zipfile.ZipFile):
    """An archive in a file that somebody else closes."""

    __del__ = dict  # type: ignore[assignment]  # nothing in Python: when Ctrl-C comes in a finalizer, it is lost


class Header(NamedTuple):
    """What an array is like, and how many bytes of its file come before the elements."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: Real
    start: int


class Archive:
    """The arrays of an .npz file by name: headers without elements, and elements of single arrays.

    Every method raises ValueError, with the ``path`` of the file, when the file is damaged or holds no such array.
    """

    def __init__(self, file: BinaryIO, path: File) -> None:
        self._path = os.fsdecode(path)
        with self._damage():
            if file.read(2) != ZIP:
                raise ValueError("it does not start like one")
            self._end = file.seek(0, os.SEEK_END)
            self._zip = ZipFile(file)
            self._members = {member.filename.removesuffix(".npy"): member for member in self._zip.infolist()}
        self._headers: dict[str, Header] = {}

    @property
    def names(self) -> list[str]:
        return list(self._members)

    def header(self, name: str) -> Header:
        """Shape and dtype of an array, as far as the file can hold one like that."""
        if name not in self._headers:
            with self._damage():
                self._headers[name] = self._read_header(name)
        return self._headers[name]

    def read(self, name: str) -> Array:
        """An array.

        Raises
        ------
        MemoryError
            When it does not fit into memory.
        """
        header, member = self.header(name), self._members[name]
        size = member.file_size - header.start
        try:
            data = np.empty(size, np.uint8)
        except MemoryError:
            raise MemoryError(f"{self._path}: {name} takes {size:,} bytes: not enough memory") from None
        with self._damage(), self._zip.open(member) as stream:
            stream.read(header.start)
            view = data.data
            while view:
                chunk = stream.read(min(len(view), _CHUNK))
                if not chunk:
                    raise ValueError(f"{name} ends too early")
                view[: len(chunk)] = chunk
                view = view[len(chunk) :]
            return np.ndarray(header.shape, header.dtype, data, order="F" if header.fortran_order else "C")

    def _read_header(self, name: str) -> Header:
        member = self._members[name]
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name} is compressed in a way that .npz files are not")
        most = member.compress_size * (_MOST_DEFLATED if member.compress_type == zipfile.ZIP_DEFLATED else 1)
        if member.file_size > most or member.header_offset + member.compress_size > self._end:
            raise ValueError(f"{name} is shorter than the directory of the archive says")
        with self._zip.open(member) as stream:
            start = io.BytesIO(stream.read(_LONGEST_HEADER))
        if not start.getvalue().startswith(np.lib.format.MAGIC_PREFIX):
            raise ValueError(f"{name} is no array")
        try:
            shape, fortran_order, dtype = _HEADERS[np.lib.format.read_magic(start)](start)
        except Exception:  # NumPy's message may hold all of the header
            raise ValueError(f"{name} has no readable header") from None
        if dtype.hasobject:
            raise ValueError(f"{name} holds Python objects, which are not loaded")
        expected, held = math.prod(shape) * dtype.itemsize, member.file_size - start.tell()
        if min(shape, default=0) < 0 or expected != held:
            raise ValueError(f"{name} should hold {expected} bytes for the shape {shape}, but holds {held}")
        return Header(shape, fortran_order, dtype, start.tell())

    @contextlib.contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a flipped byte can cause nearly any
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"{self._path} is no readable .npz file: {reason}") from None


def listed(names: list[str], most: int = 5) -> str:
    """Names for an error message, not more than fit into a line, whatever is in them."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(" ".join(name.split()) for name in names[:most]) + more or "none"


def read_npz(path: File) -> dict[str, Array]:
    """The arrays of an .npz file, by name.

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        When it is no .npz file, is damaged, or holds Python objects.
    MemoryError
        When an array does not fit into memory.
    """
    with opened(path) as file:
        archive = Archive(file, path)
        return {name: archive.read(name) for name in archive.names}
