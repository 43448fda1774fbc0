"""Files that appear whole or not at all: written under a temporary name, flushed to disk and renamed.

The temporary name is a hash of the name of the file and a random number. A writer holds a lock on its temporary file
as long as it lives: one that nobody has locked was left behind by a process that was killed, and the next writer of the
same file removes it.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl

    _LOCKS = True
except ImportError:  # Windows
    _LOCKS = False

_TRIAL = 4096  # bytes, one block of most file systems


def check_target(path: str | PathLike[str]) -> Path:
    """The path to write to, with links followed.

    OSError when there is no folder, something that is no file, a circle of links or a name that is too long.
    """
    name = os.fsdecode(path)
    if not name:
        raise ValueError("the name of the file to write is empty")
    target = Path(os.path.realpath(name))
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        if not target.parent.exists():
            raise FileNotFoundError(errno.ENOENT, "its folder does not exist", name) from None
        return target
    except NotADirectoryError:
        raise NotADirectoryError(errno.ENOTDIR, "its folder is a file", name) from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", name)
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no regular file", name)
    return target


def check_writable(path: str | PathLike[str]) -> None:
    """`check_target`, and whether a file can be made beside it and filled."""

    def fill(file: BinaryIO, temporary: Path) -> None:
        file.write(bytes(_TRIAL))
        _flush(file)

    target = check_target(path)
    try:
        _beside(target, fill)
    except OSError as error:
        raise OSError(error.errno, f"cannot be written, {error.strerror}", os.fsdecode(path)) from None


def check_room(path: str | PathLike[str], size: int) -> None:
    """OSError when the disk has no room for ``size`` bytes."""
    free = shutil.disk_usage(check_target(path).parent).free
    if size > free:
        reason = f"{os.strerror(errno.ENOSPC)}: {size:,} bytes are needed, {free:,} are free"
        raise OSError(errno.ENOSPC, reason, os.fsdecode(path))


def write_whole(path: str | PathLike[str], write: Callable[[BinaryIO], None]) -> None:
    """Have ``write`` fill a file that appears whole or not at all, with owner and mode of the one that it replaces."""
    target = check_target(path)
    _remove_leftovers(target)

    def fill(file: BinaryIO, temporary: Path) -> None:
        write(file)
        with contextlib.suppress(FileNotFoundError):
            _keep_mode(file.fileno(), os.stat(target))
        _flush(file)
        if not _LOCKS:
            file.close()  # Windows renames no open file
        os.replace(temporary, target)  # still locked, so that nobody takes it for left behind

    try:
        _beside(target, fill)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), os.fsdecode(path)) from None
    _flush_folder(target.parent)


def _prefix(target: Path) -> str:
    """How the names of temporary files begin; of fixed length, since the name itself may be as long as names can be."""
    return f".fastbp-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}-"


def _beside(target: Path, use: Callable[[BinaryIO, Path], None]) -> None:
    """Call ``use`` with a new temporary file, locked, and its name; afterwards there is no file of that name.

    No context manager: an interrupt between its parts would leave the file behind.
    """
    temporary = target.with_name(_prefix(target) + os.urandom(8).hex())
    try:
        with _create(temporary, private=target.exists()) as file:
            use(file, temporary)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _create(temporary: Path, *, private: bool) -> BinaryIO:
    """A new file, locked; ``private`` for nobody else to read, else as all new files."""
    mode = 0o600 if private else 0o666
    while True:
        file = open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode))  # noqa: SIM115
        if not _LOCKS:
            return file
        with contextlib.suppress(OSError):  # not every file system has locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if temporary.exists():
            return file
        file.close()  # another writer removed it before it was locked


def _remove_leftovers(target: Path) -> None:
    """Remove the temporary files for this target whose writers do not live any more."""
    if not _LOCKS:
        return
    prefix = _prefix(target)
    with contextlib.suppress(OSError):
        for name in os.listdir(target.parent):
            if name.startswith(prefix):
                _remove_unlocked(target.with_name(name))


def _remove_unlocked(path: Path) -> None:
    # anybody may have put something else there: no link is followed, no pipe waited for
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    with contextlib.suppress(OSError), open(path, "wb", opener=lambda name, _: os.open(name, flags)) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


def _keep_mode(descriptor: int, old: os.stat_result) -> None:
    """Give a file owner, group and permissions of the ``old`` one, as far as this user may."""
    if not hasattr(os, "fchown"):
        return
    mode = old.st_mode & 0o777
    for owner in (old.st_uid, -1):
        with contextlib.suppress(OSError):
            os.fchown(descriptor, owner, old.st_gid)
            break
    else:  # members of another group may do what anybody may
        mode = mode & 0o707 | (mode & 0o007) << 3
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, mode)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the renaming itself durable, where the system can."""
    with contextlib.suppress(OSError, AttributeError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
