"""Networks in .npz files: one array per parameter, and the configuration as JSON. Nothing in them is executed."""

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, cast

import numpy as np

from fastbp import layers
from fastbp._checks import Array
from fastbp.datasets import read_npz

_CONFIG = "config"
_FORMAT = {"format": "fastbp network", "version": 1}


def write(path: str | PathLike[str], config: dict[str, Any], arrays: dict[str, Array]) -> None:
    """Write a network's configuration and arrays."""
    write_npz(path, {_CONFIG: np.array(json.dumps({**_FORMAT, **config})), **arrays})


def check_target(path: str | PathLike[str]) -> Path:
    """The path to write to, with links followed; OSError when there is no folder or something that is no file."""
    target = Path(path).resolve()
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    if not target.parent.exists():
        raise FileNotFoundError(errno.ENOENT, "its folder does not exist", str(path))
    if not target.parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "its folder is a file", str(path))
    return target


def write_npz(path: str | PathLike[str], arrays: dict[str, Array]) -> None:
    """Write arrays by name so that the file appears whole or not at all."""
    target = check_target(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{os.urandom(4).hex()}")
    try:
        with temporary.open("xb") as file:
            cast(Any, np.savez)(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise type(error)(error.errno, error.strerror or str(error), str(path)) from None
        raise
    _flush_folder(target.parent)


def _flush_folder(folder: Path) -> None:
    """Make the renaming itself durable, where the system can."""
    with contextlib.suppress(OSError, AttributeError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def damage(path: str | PathLike[str]) -> Iterator[None]:
    """Reword whatever a damaged or foreign file causes into one ValueError that names the file."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # a flipped byte can cause nearly any
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{os.fspath(path)} is not a network saved by fastbp, or is damaged: {reason}") from None


def read(path: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Configuration and arrays of a file that `write` wrote."""
    with damage(path):
        arrays = read_npz(path)
        config = json.loads(str(take(arrays, _CONFIG, (), kind="U")))
        if not isinstance(config, dict) or config.get("format") != _FORMAT["format"]:
            raise ValueError("it has no fastbp configuration")
        if config.get("version") != _FORMAT["version"]:
            raise ValueError(f"its version is {config.get('version')!r}, this fastbp reads {_FORMAT['version']}")
    return config, arrays


def take(arrays: dict[str, Array], name: str, shape: tuple[int, ...], kind: str = "f") -> Array:
    """Remove one array of a known shape and kind of dtype from ``arrays``."""
    if name not in arrays:
        raise ValueError(f"{name} is missing")
    array = arrays.pop(name)
    if array.shape != shape or array.dtype.kind != kind:
        raise ValueError(f"{name} must have the shape {shape}, got {array.shape} of dtype {array.dtype}")
    return array


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
