"""Compiled kernels on disk, so that only the first run on a machine compiles.

Numba's own cache does not notice a change in a function that a cached one calls from another file, and fails at import
when its folder cannot be written. Here the folder's name carries a hash of every kernel source, each compiled function
is one file that appears whole or not at all, and every failure of the file system or of a damaged file only costs the
time to compile again.
"""

import contextlib
import hashlib
import os
import pickle
import sys
import tempfile
import warnings
from pathlib import Path

import llvmlite
import numba
import numpy as np
from numba.core import caching
from numba.core.compiler import CompileResult
from numba.core.errors import NumbaWarning

from fastbp.kernels import _cpu


def _sources_hash() -> str:
    """Hash of all kernel sources and of the versions whose change invalidates machine code."""
    digest = hashlib.sha256(f"{sys.version} {numba.__version__} {llvmlite.__version__} {np.__version__}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _base_folder() -> Path | None:
    """FASTBP_CACHE_DIR, else NUMBA_CACHE_DIR, else the user's cache folder; None where there is no home."""
    for variable in ("FASTBP_CACHE_DIR", "NUMBA_CACHE_DIR"):
        if os.environ.get(variable):
            return Path(os.environ[variable])
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "fastbp"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local")) / "fastbp"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "fastbp"
    return home / ".cache" / "fastbp"


def _folder() -> Path | None:
    base = _base_folder()
    return None if base is None else base.absolute() / f"kernels-{_sources_hash()}"


FOLDER = _folder()
_DIGEST = hashlib.sha256().digest_size  # a file starts with the checksum of the rest: damaged code must not run


def writable() -> bool:
    """Whether compiled kernels can be kept: creates the folder if need be and tries a file in it."""
    if FOLDER is None:
        return False
    try:
        FOLDER.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=FOLDER).close()
    except OSError:
        return False
    return True


def has(name: str) -> bool:
    """Whether a function of this name has been compiled for this cache."""
    return FOLDER is not None and any(FOLDER.glob(f"{name}-*.bin"))


class KernelCache(caching.NullCache):
    """Stores each compiled signature of one function in a file of its own.

    Numba's class keeps an index per function, which two processes that compile different signatures at once can leave
    pointing at each other's data; a file per signature cannot be mixed up.
    """

    _warned = False

    def __init__(self, name):
        self._name = name

    @property
    def cache_path(self):
        return str(FOLDER) if FOLDER else None

    def _path(self, signature, codegen):
        key = f"{signature} {codegen.magic_tuple()} {_cpu.L2_BYTES}"
        return FOLDER / f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.bin"

    def load_overload(self, sig, target_context):
        if FOLDER is None:
            return None
        target_context.refresh()
        try:
            content = self._path(sig, target_context.codegen()).read_bytes()
            checksum, payload = content[:_DIGEST], content[_DIGEST:]
            if hashlib.sha256(payload).digest() != checksum:
                return None
            return CompileResult._rebuild(target_context, *pickle.loads(payload))
        except Exception:  # absent, unreadable, truncated or foreign: compile again
            return None

    def save_overload(self, sig, data):
        if FOLDER is None or not writable():
            self._warn()
            return
        path = self._path(sig, data.codegen)
        temporary = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
        try:
            payload = caching.dumps(data._reduce())
            temporary.write_bytes(hashlib.sha256(payload).digest() + payload)
            temporary.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            self._warn()

    @classmethod
    def _warn(cls):
        if not KernelCache._warned:
            KernelCache._warned = True
            where = f"{FOLDER} cannot be written" if FOLDER else "there is no home folder"
            warnings.warn(
                f"the kernels compile anew in every process, because {where}; "
                "set FASTBP_CACHE_DIR to a folder that can be written",
                NumbaWarning,
                stacklevel=2,
            )
