"""Networks in .npz files: one array per parameter, and the configuration as JSON. Nothing in them is executed."""

import contextlib
import json
import os
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from fastbp import layers
from fastbp._checks import Array

_CONFIG = "config"
_FORMAT = {"format": "fastbp network", "version": 1}


def save_npz(file: IO[bytes], arrays: dict[str, Array]) -> None:
    """`numpy.savez` for names that are not known before."""
    cast(Any, np.savez)(file, **arrays)


def write(path: str | PathLike[str], config: dict[str, Any], arrays: dict[str, Array]) -> None:
    """Write configuration and arrays so that the file appears whole or not at all."""
    text = np.array(json.dumps({**_FORMAT, **config}))
    target = Path(path).resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{os.urandom(4).hex()}")
    try:
        with temporary.open("xb") as file:
            save_npz(file, {_CONFIG: text, **arrays})
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise type(error)(error.errno, error.strerror, str(path)) from None
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
    except Exception as error:  # a flipped byte can cause nearly any
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{os.fspath(path)} is not a network saved by fastbp, or is damaged: {reason}") from None


def read(path: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Configuration and arrays of a file that `write` wrote."""
    with Path(path).open("rb") as file, damage(path):
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it is a single array")
        arrays = {name: archive[name] for name in archive.files}
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
