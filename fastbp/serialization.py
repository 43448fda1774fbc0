"""Networks in .npz files: one array per parameter, and the configuration as JSON. Nothing in them is executed."""

import contextlib
import json
import math
import os
from collections.abc import Iterator
from os import PathLike
from typing import Any, BinaryIO

import numpy as np

from fastbp import layers
from fastbp._checks import Array, memory
from fastbp._saving import write_whole
from fastbp.datasets.npz import Archive, ZipFile, listed
from fastbp.datasets.opening import opened

_CONFIG = "config"
_FORMAT = {"format": "fastbp network", "version": 1}
_LONGEST_CONFIG = 2**24  # characters: a hundred thousand layers; parsing takes many times the memory


def write(path: str | PathLike[str], config: dict[str, Any], arrays: dict[str, Array]) -> None:
    """Write a network's configuration and arrays."""
    write_npz(path, {_CONFIG: np.array(as_text(config)), **arrays})


def as_text(config: dict[str, Any]) -> str:
    """A configuration as JSON; ValueError for one that is too long to be read again."""
    text = json.dumps({**_FORMAT, **config})
    if len(text) > _LONGEST_CONFIG:
        raise ValueError(f"the network has a configuration of {len(text):,} characters, more than {_LONGEST_CONFIG:,}")
    return text


def write_npz(path: str | PathLike[str], arrays: dict[str, Array]) -> None:
    """Write arrays by name so that the file appears whole or not at all."""
    write_whole(path, lambda file: _write_archive(file, arrays))


def _write_archive(file: BinaryIO, arrays: dict[str, Array]) -> None:
    """What `numpy.savez` writes; that raises ValueError in place of an interrupt at the wrong moment."""
    archive = ZipFile(file, "w")
    for name, array in arrays.items():
        with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, array, allow_pickle=False)
    archive.close()  # only when all is well: within a member, closing raises ValueError


@contextlib.contextmanager
def damage(path: str | PathLike[str]) -> Iterator[None]:
    """Reword whatever a damaged or foreign file causes into one ValueError that names the file."""
    name = os.fsdecode(path)
    try:
        yield
    except OSError:
        raise
    except MemoryError as error:
        raise MemoryError(f"{name}: {str(error).removeprefix(f'{name}: ') or 'not enough memory'}") from None
    except Exception as error:  # a flipped byte can cause nearly any
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{name} is not a network saved by fastbp, or is damaged: {reason}") from None


class Arrays:
    """The arrays of a saved network, each read when its layer takes it."""

    def __init__(self, archive: Archive) -> None:
        self._archive, self._left, self._room = archive, dict.fromkeys(archive.names), memory()

    def take(self, name: str, shape: tuple[int, ...], kind: str = "f", most: int | None = None) -> Array:
        """An array of a known shape and kind of dtype, of at most so many bytes."""
        if name not in self._left:
            raise ValueError(f"{name} is missing")
        del self._left[name]
        header = self._archive.header(name)
        if header.shape != shape or header.dtype.kind != kind:
            raise ValueError(f"{name} must have the shape {shape}, got {header.shape} of dtype {header.dtype}")
        if most is not None and header.dtype.itemsize > most:
            raise ValueError(f"{name} takes {header.dtype.itemsize:,} bytes, more than {most:,}")
        self._room -= math.prod(shape) * header.dtype.itemsize
        if self._room < 0:
            raise MemoryError
        return self._archive.read(name)

    def check_all_taken(self) -> None:
        """Refuse arrays that no layer has asked for; they have not been read."""
        if self._left:
            raise ValueError(f"unknown arrays {listed(list(self._left))}")


@contextlib.contextmanager
def reading(path: str | PathLike[str]) -> Iterator[tuple[dict[str, Any], Arrays]]:
    """Configuration and arrays of a file that `write` wrote, while it is open; all of them must be taken."""
    with damage(path), opened(path) as file:
        arrays = Arrays(Archive(file, path))
        # not str(array): after a Ctrl-C in there, NumPy takes later arrays at the same address for "..."
        config = json.loads(arrays.take(_CONFIG, (), "U", most=4 * _LONGEST_CONFIG).item())
        if not isinstance(config, dict) or config.get("format") != _FORMAT["format"]:
            raise ValueError("it has no fastbp configuration")
        if config.get("version") != _FORMAT["version"]:
            raise ValueError(f"its version is {config.get('version')!r}, this fastbp reads {_FORMAT['version']}")
        yield config, arrays
        arrays.check_all_taken()


def layers_from(configs: list[dict[str, Any]]) -> list[layers.Layer]:
    """Layers from their configurations."""
    result = []
    for config in configs:
        arguments = dict(config)
        kind = arguments.pop("type")
        if kind not in layers.BY_NAME:
            raise ValueError(f"unknown layer {kind!r}")
        result.append(layers.BY_NAME[kind](**arguments))
    return result
