"""Files to read: opened once, and whatever cannot be read twice, such as a pipe, is kept."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from os import PathLike
from typing import BinaryIO, cast

File = str | PathLike[str]

ZIP = b"PK"  # how every .zip file starts, and an .npz file is one
GZIP = b"\x1f\x8b"
IDX = b"\0\0"
_IN_MEMORY = 2**26  # bytes of a pipe; more go to a file


@contextlib.contextmanager
def opened(path: File) -> Iterator[BinaryIO]:
    """A file or pipe to read and to go back in.

    Of a pipe that starts with nothing that any reader knows, only the start is kept: it may have no end.
    """
    with open(os.fsdecode(path), "rb") as file:
        if file.seekable():
            yield file
            return
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as kept:
            start = file.read(4)
            kept.write(start)
            if start[:2] in (ZIP, GZIP, IDX):
                shutil.copyfileobj(file, kept)
            kept.seek(0)
            yield cast(BinaryIO, kept)
