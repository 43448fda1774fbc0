"""Reader of samples and labels, from .npz or IDX files."""

import os
from collections.abc import Sequence
from os import PathLike

import numpy as np

from fastbp._checks import Array
from fastbp.datasets import idx
from fastbp.datasets.npz import Archive, listed
from fastbp.datasets.opening import GZIP, IDX, ZIP, File, opened


def read(paths: File | Sequence[File], *, labels: bool = True) -> tuple[Array, Array | None]:
    """Samples and labels from one .npz file with arrays x and y, or from two IDX files (images, labels).

    Parameters
    ----------
    paths : a path, or a list or tuple of one or two paths
        Pipes are read, too.
    labels : bool
        Whether to read labels; without, y may be missing from the .npz file and one IDX file suffices.

    Returns
    -------
    x : ndarray
        uint8 images are divided by 255 and become float32; anything else is left as it is.
    y : ndarray, or None without ``labels``

    Raises
    ------
    OSError
        When a file cannot be read.
    ValueError
        When a file is damaged, an array is missing, or the lengths differ.
    TypeError
        When ``paths`` are none.
    MemoryError
        When an array does not fit into memory.
    """
    names = _names(paths)
    with opened(names[0]) as file:
        start = file.read(len(ZIP))
        file.seek(0)
        if start == ZIP and len(names) > 1:
            raise ValueError("data must be one .npz file or two IDX files, not both")
        if start not in (ZIP, GZIP, IDX):
            hint = 'np.savez("data.npz", x=..., y=...) makes an .npz file'
            raise ValueError(
                f"{names[0]} is neither an .npz nor an IDX file: it starts with {start.hex(' ') or 'nothing'}; {hint}"
            )
        if start != ZIP and len(names) < 2 and labels:
            raise ValueError(f"{names[0]} is no .npz file; IDX data needs two files, images and labels")
        if start == ZIP:
            x, y = _from_archive(Archive(file, names[0]), names[0], labels)
        else:
            x = idx.parse(file, names[0])
            y = idx.read_idx(names[1]) if labels else None
            _check_lengths(x.shape, None if y is None else y.shape)
    if x.dtype == np.uint8:
        x = x.astype(np.float32)
        x /= np.float32(255)
    return x, y


def _names(paths: File | Sequence[File]) -> list[str]:
    """One or two paths as text."""
    if isinstance(paths, str | bytes | PathLike):
        return [os.fsdecode(paths)]
    if not isinstance(paths, Sequence):
        raise TypeError(f"data must be a path or a list of paths, got {paths!r}")
    if not 1 <= len(paths) <= 2:
        raise ValueError(f"data must be one .npz file or two IDX files, got {len(paths)} files")
    return [os.fsdecode(path) for path in paths]


def _from_archive(archive: Archive, name: str, labels: bool) -> tuple[Array, Array | None]:
    """The arrays x and, with ``labels``, y; nothing else is read."""
    wanted = ("x", "y") if labels else ("x",)
    for array in wanted:
        if array not in archive.names:
            raise ValueError(f"{name} has no array {array!r}; it holds {listed(archive.names)}")
    _check_lengths(*(archive.header(array).shape for array in wanted))
    return archive.read("x"), archive.read("y") if labels else None


def _check_lengths(x: tuple[int, ...], y: tuple[int, ...] | None = None) -> None:
    if not x:
        raise ValueError("x must have samples along its first dimension")
    if y is not None and x[:1] != y[:1]:
        raise ValueError(f"x and y must have the same length, got shapes {x} and {y}")
