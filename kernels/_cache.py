"""Compiled kernels on disk, so that only the first run on a machine compiles.

Numba's own cache does not notice a change in a function that a cached one calls from another file, and fails at import
when its folder cannot be written. Here the folder's name carries a hash of every kernel source, each compiled function
is one file that appears whole or not at all, and every failure of the file system or of a damaged file only costs the
time to compile again. What another user could have written is not used: see `_trust`.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import re
import sys
import tempfile
import time
import warnings
from pathlib import Path

import llvmlite
import numba
import numpy as np
from numba import config
from numba.core import caching
from numba.core.compiler import CompileResult
from numba.core.errors import NumbaWarning
from numba.core.registry import cpu_target

from fastbp.kernels import _cpu, _trust

# Numba's settings that change what it compiles; that of the processor is part of the code generator's `magic_tuple`.
_SETTINGS = (
    *("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "USING_SVML", "LLVM_REFPRUNE_PASS", "LLVM_REFPRUNE_FLAGS"),
    *("BOUNDSCHECK", "FULL_TRACEBACKS", "DEBUGINFO_DEFAULT", "EXTEND_VARIABLE_LIFETIMES"),
    *("DEBUG_JIT", "DEBUG_NRT", "DEBUG_ARRAY_OPT_RUNTIME"),
)
_HOUR = 3600  # seconds
_DAY = 24 * _HOUR
_UNUSED = 30 * _DAY  # after which the kernels of other sources, or of another version, are removed
_TEMPORARY = re.compile(r".+\.bin\.\d+-[0-9a-f]{8}")


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


def _settings() -> str:
    """What machine code depends on besides the sources."""
    target = cpu_target.target_context.codegen().magic_tuple()
    return f"{target} {_cpu.L2_BYTES} {[getattr(config, name, None) for name in _SETTINGS]}"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def obstacle() -> str | None:
    """Why compiled kernels cannot be kept, if they cannot: creates the folder if need be and tries a file in it."""
    if FOLDER is None:
        return "there is no home folder"
    try:
        _trust.require_folder(FOLDER, create=True)
        tempfile.TemporaryFile(dir=FOLDER).close()
    except _trust.Untrusted as error:
        return str(error)
    except OSError as error:
        return _unwritable(error)
    return None


def _unwritable(error: OSError) -> str:
    return f"{FOLDER} cannot be written ({error.strerror})"


def writable() -> bool:
    """Whether compiled kernels can be kept."""
    return obstacle() is None


def has(name: str) -> bool:
    """Whether a function of this name has been compiled for this cache, under the settings of this process."""
    if FOLDER is None:
        return False
    try:
        _trust.require_folder(FOLDER)
        return any(FOLDER.glob(f"{name}-{_short(_settings())}-*.bin"))
    except OSError:
        return False


@functools.cache  # once in each process
def _note_use(folder: Path) -> None:
    """Have the folder's time say on which day it was last used."""
    with contextlib.suppress(OSError):
        if _age(folder) > _DAY:
            os.utime(folder)


@functools.cache
def _sweep(folder: Path) -> None:
    """Remove what other sources and versions left beside ``folder``, and what processes that were killed left in it."""
    for other in folder.parent.glob("kernels-*"):
        with contextlib.suppress(OSError):
            if other == folder:
                _remove(other, _TEMPORARY, _HOUR)
            elif _is_unused(other):
                _remove(other, re.compile(rf".+\.bin|{_TEMPORARY.pattern}"))
                other.rmdir()  # fails where there is anything else in it


def _is_unused(folder: Path) -> bool:
    ours = re.fullmatch("kernels-[0-9a-f]{16}", folder.name) and not folder.is_symlink() and _trust.is_mine(folder)
    return bool(ours) and _age(folder) > _UNUSED


def _age(path: Path) -> float:
    return time.time() - path.lstat().st_mtime


def _remove(folder: Path, names: re.Pattern[str], age: float = 0) -> None:
    for path in folder.iterdir():
        if names.fullmatch(path.name) and _age(path) >= age:
            path.unlink()


class KernelCache(caching.NullCache):
    """Stores each compiled signature of one function in a file of its own.

    Numba's class keeps an index per function, which two processes that compile different signatures at once can leave
    pointing at each other's data; a file per signature cannot be mixed up, nor one be taken for another: its checksum
    covers all that it was compiled for.
    """

    _warned = False

    def __init__(self, name):
        self._name = name

    @property
    def cache_path(self):
        return str(FOLDER) if FOLDER else None

    def _path(self, signature):
        return FOLDER / f"{self._name}-{_short(_settings())}-{_short(str(signature))}.bin"

    def _checksum(self, signature, payload):
        made_for = f"{FOLDER.name} {self._name} {_settings()} {signature}\n"
        return hashlib.sha256(made_for.encode() + payload).digest()

    def load_overload(self, sig, target_context):
        if FOLDER is None:
            return None
        target_context.refresh()
        try:
            _trust.require_folder(FOLDER)
            content = _trust.read(self._path(sig))
            checksum, payload = content[:_DIGEST], content[_DIGEST:]
            if self._checksum(sig, payload) != checksum:
                return None
            _note_use(FOLDER)
            return CompileResult._rebuild(target_context, *pickle.loads(payload))
        except Exception:  # absent, unreadable, truncated, or not to be trusted: compile again
            return None

    def save_overload(self, sig, data):
        reason = obstacle()
        if reason:
            self._warn(reason)
            return
        _sweep(FOLDER)
        path = self._path(sig)
        temporary = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
        try:
            payload = caching.dumps(data._reduce())
            _trust.write(temporary, self._checksum(sig, payload) + payload)
            temporary.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            self._warn(_unwritable(error))

    @classmethod
    def _warn(cls, reason):
        if not KernelCache._warned:
            KernelCache._warned = True
            warnings.warn(
                f"the kernels compile anew in every process, because {reason}; "
                "set FASTBP_CACHE_DIR to a folder that only you can write",
                NumbaWarning,
                stacklevel=2,
            )
