"""What another user could have written is neither run nor changed.

As root, files are given to another user; otherwise this process takes itself for another user.
"""

import os
import pickle
from pathlib import Path

import pytest
from numba.core.errors import NumbaWarning
from numba.core.registry import cpu_target

from fastbp.kernels import _cache, _trust

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")


class Planted:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class Compiled:
    def _reduce(self):
        return ("code",)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """A cache, three folders deep, with a file that says when it is unpickled."""
    folder = tmp_path / "shared" / "base" / "kernels-0123456789abcdef"
    for path in (folder.parent.parent, folder.parent, folder):
        path.mkdir(0o700)
    monkeypatch.setattr(_cache, "FOLDER", folder)
    monkeypatch.setattr(_cache.KernelCache, "_warned", False)
    cache = _cache.KernelCache("kernel")
    payload = pickle.dumps(Planted(tmp_path / "ran"))
    _trust.write(cache._path("signature"), cache._checksum("signature", payload) + payload)
    return cache


@pytest.fixture
def give_away(monkeypatch):
    """A function that gives a file, folder or link to another user."""

    user = os.geteuid()

    def give(path):
        if user == 0:
            os.chown(path, 65534, 65534, follow_symlinks=False)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: user + 1)

    return give


def places(cache):
    file = cache._path("signature")
    return {"file": file, "folder": file.parent, "base": file.parent.parent, "above": file.parents[2]}


def ran(cache, tmp_path):
    assert cache.load_overload("signature", cpu_target.target_context) is None  # it is no kernel
    return (tmp_path / "ran").exists()


def refuses(cache, reason):
    """Whether nothing is written either, with one warning."""
    before = sorted(_cache.FOLDER.iterdir())
    with pytest.warns(NumbaWarning, match=rf"{reason}.*; set FASTBP_CACHE_DIR to a folder that only you can write"):
        cache.save_overload("another", Compiled())
    cache.save_overload("another", Compiled())  # a second warning would be an error
    return sorted(_cache.FOLDER.iterdir()) == before and not _cache.has("kernel") and not _cache.writable()


def test_what_is_mine_is_used(cache, tmp_path):
    assert ran(cache, tmp_path)
    cache.save_overload("another", Compiled())
    assert cache._path("another").exists()


@pytest.mark.parametrize("mode", [0o777, 0o702, 0o720])
@pytest.mark.parametrize("place", ["folder", "base", "above"])
def test_folders_that_others_can_write_are_refused(cache, tmp_path, monkeypatch, place, mode):
    monkeypatch.setattr(_trust, "_is_own_group", lambda number: False)
    places(cache)[place].chmod(mode)
    assert not ran(cache, tmp_path)
    assert refuses(cache, rf"other users can write to \S*/{places(cache)[place].name} \(mode {mode:04o}\)")


@pytest.mark.parametrize("place", ["folder", "base", "above"])
def test_folders_of_others_are_refused(cache, tmp_path, give_away, place):
    give_away(places(cache)[place])
    assert not ran(cache, tmp_path)
    assert refuses(cache, r"\S+ belongs to another user \(number \d+\)")


@pytest.mark.parametrize("place", ["base", "above"])
def test_a_folder_where_each_user_changes_only_their_own_will_do(cache, tmp_path, place):
    places(cache)[place].chmod(0o1777)
    assert ran(cache, tmp_path)


def test_the_cache_itself_must_not_be_such_a_folder(cache, tmp_path):
    places(cache)["folder"].chmod(0o1777)
    assert not ran(cache, tmp_path)
    assert refuses(cache, "other users can write")


@pytest.mark.parametrize("how", ["mode", "owner", "link"])
def test_files_of_others_are_compiled_again(cache, tmp_path, monkeypatch, give_away, how):
    file = places(cache)["file"]
    if how == "mode":
        file.chmod(0o666)
    elif how == "owner":
        give_away(file)
    else:
        file.rename(tmp_path / "file")
        file.symlink_to(tmp_path / "file")
    assert not ran(cache, tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(_cache, "FOLDER", file.parent)
    cache.save_overload("signature", Compiled())  # in its place, not through it
    assert _trust.read(file).endswith(b"\x8c\x04code\x94\x85\x94.")


def test_own_links_on_the_way_are_followed(cache, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to("shared/base")
    monkeypatch.setattr(_cache, "FOLDER", tmp_path / "link" / _cache.FOLDER.name)
    assert ran(cache, tmp_path)
    (tmp_path / "shared").chmod(0o777)
    assert refuses(cache, r"other users can write to \S*/shared ")


def test_links_of_others_are_refused(cache, tmp_path, monkeypatch, give_away):
    (tmp_path / "link").symlink_to(tmp_path / "shared")
    give_away(tmp_path / "link")
    monkeypatch.setattr(_cache, "FOLDER", tmp_path / "link" / "base" / _cache.FOLDER.name)
    assert not ran(cache, tmp_path)
    assert refuses(cache, "belongs to another user")


def test_links_in_a_circle_are_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        _trust.require_folder(tmp_path / "a" / "kernels", create=True)


def test_nothing_is_made_in_a_folder_of_others(tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(_trust.Untrusted, match="mode 0777"):
        _trust.require_folder(tmp_path / "base" / "kernels", create=True)
    assert not list(tmp_path.iterdir())
    tmp_path.chmod(0o700)


@pytest.mark.parametrize(("name", "members", "own"), [("me", [], True), ("me", ["you"], False), ("us", [], False)])
def test_a_group_of_my_own_may_write(monkeypatch, name, members, own):
    import grp
    import pwd

    monkeypatch.setattr(pwd, "getpwuid", lambda uid: pwd.struct_passwd(("me", "x", uid, 7, "", "/", "")))
    monkeypatch.setattr(grp, "getgrgid", lambda gid: grp.struct_group((name, "x", gid, members)))
    assert _trust._is_own_group(7) == own
    assert not _trust._is_own_group(0)  # containers give it to users of any number


def test_lists_of_users_may_stand_behind_the_permissions_of_a_group(monkeypatch, tmp_path):
    monkeypatch.setattr(_trust, "_is_own_group", lambda number: True)
    tmp_path.chmod(0o770)
    _trust._require_private(tmp_path, tmp_path.lstat())
    monkeypatch.setattr(os, "listxattr", lambda path: ["system.posix_acl_access"], raising=False)
    with pytest.raises(_trust.Untrusted, match="other users can write"):
        _trust._require_private(tmp_path, tmp_path.lstat())


def test_an_unknown_user_has_no_group(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 2**31 - 7)
    assert not _trust._is_own_group(Path(__file__).stat().st_gid)
