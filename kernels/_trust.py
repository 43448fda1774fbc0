"""Files that no other user of the machine could have written.

What lies in the kernel cache is run. So it is used only where it can come from this user and root alone, which owners
and permission bits say. Windows has no such bits: there the access lists of the user's own folder keep others out, and
a folder that is set by a variable is taken as it is.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

_POSIX = hasattr(os, "geteuid")


class Untrusted(OSError):
    """A file or folder that another user could have written; the message says why."""


def require_folder(folder: Path, *, create: bool = False) -> None:
    """Refuse an absolute ``folder`` if another user could put files there, or put another folder in its place.

    From the top down: what lies in a folder that others cannot change stays what it is while the rest is looked at.
    With ``create``, what is missing is made, for this user alone whatever the umask.

    Raises
    ------
    OSError
        `Untrusted`, or when the folder does not exist or cannot be made.
    """
    if _POSIX:
        _require_way(folder, create)
        _require_private(folder, folder.stat())
    elif create:
        folder.mkdir(parents=True, exist_ok=True)


def read(path: Path) -> bytes:
    """The contents of a file in a folder that has passed `require_folder`; OSError as there."""
    with open(path, "rb", opener=_open) as file:
        if _POSIX:
            _require_private(path, os.fstat(file.fileno()))
        return file.read()


def write(path: Path, content: bytes) -> None:
    """Make a new file that this user alone can read and write."""
    with open(path, "xb", opener=_open) as file:
        file.write(content)


def is_mine(path: Path) -> bool:
    """Whether a file or folder, not the target of a link, belongs to this user."""
    return not _POSIX or path.lstat().st_uid == os.geteuid()


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o600)


def _require_way(folder: Path, create: bool) -> None:
    """Refuse ``folder`` if another user could exchange it, a folder above it, or a link on the way."""
    for place in (*reversed(folder.parents), folder):
        if create and not os.path.lexists(place):
            with suppress(FileExistsError):  # another process was faster
                place.mkdir(0o700)
        status = place.lstat()
        if stat.S_ISLNK(status.st_mode):
            _require_owner(place, status)
            place.stat()  # links in a circle end here
            _require_way(place.parent / place.readlink(), create=False)
        elif status.st_mode & stat.S_ISVTX:  # as in /tmp, each user can only exchange what is their own
            _require_owner(place, status)
        else:
            _require_private(place, status)


def _require_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in (0, os.geteuid()):
        raise Untrusted(f"{path} belongs to another user (number {status.st_uid})")


def _require_private(path: Path, status: os.stat_result) -> None:
    _require_owner(path, status)
    by_group = status.st_mode & stat.S_IWGRP and (_has_list(path) or not _is_own_group(status.st_gid))
    if by_group or status.st_mode & stat.S_IWOTH:
        raise Untrusted(f"other users can write to {path} (mode {stat.S_IMODE(status.st_mode):04o})")


def _has_list(path: Path) -> bool:
    """Whether an access control list names users: what looks like the permissions of the group is the most of any."""
    return hasattr(os, "listxattr") and "system.posix_acl_access" in os.listxattr(path)


def _is_own_group(number: int) -> bool:
    """Whether a group has this user alone: where each user has such a group, it can write by default (umask 002)."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(number)
    except KeyError:
        return False
    return number != 0 and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}
