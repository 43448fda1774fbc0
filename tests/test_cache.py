"""Compiled kernels on disk: kept, shared by processes, renewed when sources or settings change, and never in the way.

Whose files are used is tested in test_trust.py.
"""

import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from numba import config
from numba.core.errors import NumbaWarning
from numba.core.registry import cpu_target

import fastbp
from fastbp.kernels import _cache

PROGRAM = """
import numpy as np
from fastbp import kernels
y = np.empty(3)
kernels.tanh_forward(np.array([-1.0, 0.0, 1.0]), y)
print(y.round(4).tolist())
"""
EXPECTED = "[-0.7616, 0.0, 0.7616]"
VARIABLES = ("FASTBP_CACHE_DIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "PYTHONWARNINGS")
ROOT = Path(fastbp.__file__).parents[1]


def start(cache, program=PROGRAM, root=ROOT, **variables):
    clean = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    paths = {"PYTHONPATH": str(root), "FASTBP_CACHE_DIR": str(cache)}
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env=clean | paths | variables,
        cwd=root,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process):
    """What the process printed on both streams; it must have ended well."""
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output.strip(), errors


def run(*args, **variables):
    return finish(start(*args, **variables))


def contents(folder):
    return {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache that a first process has made and filled, with an umask that forbids nothing."""
    folder = tmp_path_factory.mktemp("cache") / "own" / "cache"
    assert run(folder, "import os\nos.umask(0)\n" + PROGRAM)[0] == EXPECTED
    assert contents(folder)
    return folder


@pytest.fixture
def cache(filled, tmp_path):
    return Path(shutil.copytree(filled, tmp_path / "cache"))


def test_second_process_compiles_nothing(cache):
    before = contents(cache)
    assert run(cache) == (EXPECTED, "")
    assert contents(cache) == before


def test_folder_is_named_by_the_sources(cache):
    (folder,) = cache.iterdir()
    assert folder.name == f"kernels-{_cache._sources_hash()}"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_nobody_else_may_read_or_write_what_is_made(filled):
    made = [filled.parent, *filled.parent.rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_dir()} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_file()} == {0o600}


def test_each_setting_of_numba_has_files_of_its_own(cache):
    before = contents(cache)
    assert run(cache, NUMBA_OPT="0") == (EXPECTED, "")
    both = contents(cache)
    assert both.items() > before.items()
    assert len(both) == 2 * len(before)
    assert run(cache) == run(cache, NUMBA_OPT="0") == (EXPECTED, "")
    assert contents(cache) == both


def test_files_that_changed_names_are_compiled_again(cache):
    one, two = contents(cache)
    content = one.read_bytes(), two.read_bytes()
    one.write_bytes(content[1])
    two.write_bytes(content[0])
    assert run(cache) == (EXPECTED, "")
    assert one.read_bytes() != content[1]
    assert two.read_bytes() != content[0]
    before = contents(cache)
    assert run(cache) == (EXPECTED, "")
    assert contents(cache) == before


def damage(data, how):
    eighth = len(data) // 8
    return {
        "empty": b"",
        "truncated": data[:eighth],
        "garbage": bytes(range(256)) * 40,
        "another pickle": b"\x80\x04N.",
        # the right length, but a part of the machine code never reached the disk
        "zeroed": data[:eighth] + bytes(eighth) + data[2 * eighth :],
    }[how]


@pytest.mark.parametrize("how", ["empty", "truncated", "garbage", "another pickle", "zeroed"])
def test_damaged_file_is_compiled_again(cache, how):
    damaged = {path: damage(path.read_bytes(), how) for path in contents(cache)}
    assert damaged
    for path, data in damaged.items():
        path.write_bytes(data)
    assert run(cache) == (EXPECTED, "")
    assert all(path.read_bytes() != data for path, data in damaged.items())
    before = contents(cache)
    assert run(cache) == (EXPECTED, "")
    assert contents(cache) == before


def test_two_processes_fill_an_empty_cache_at_once(tmp_path):
    both = [start(tmp_path), start(tmp_path)]
    for process in both:
        process.wait(timeout=300)
    assert [finish(process) for process in both] == [(EXPECTED, "")] * 2
    before = contents(tmp_path)
    assert all(path.suffix == ".bin" for path in before)
    assert run(tmp_path) == (EXPECTED, "")
    assert contents(tmp_path) == before


def test_changed_callee_in_another_file_is_compiled_again(tmp_path):
    package = tmp_path / "fastbp"
    shutil.copytree(ROOT / "fastbp", package, ignore=shutil.ignore_patterns("kernels", "__pycache__"))
    source = Path(_cache.__file__).parent
    shutil.copytree(source, package / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    cache = tmp_path / "cache"
    assert run(cache, PROGRAM, tmp_path)[0] == EXPECTED
    before = contents(cache)
    with (package / "kernels" / "functions.py").open("a") as file:
        file.write("\ntanh = sigmoid\n")
    assert run(cache, PROGRAM, tmp_path)[0] == "[0.2689, 0.5, 0.7311]"
    assert contents(cache).items() > before.items()


@pytest.mark.parametrize("place", ["file/folder", "file"])
def test_folder_that_cannot_be_written_warns_once(tmp_path, place):
    # permission bits would not stop root: a regular file stands where a folder should
    (tmp_path / "file").write_text("")
    two = (
        PROGRAM
        + "kernels.sgd_update(y, np.ones(3), 0.1)\nkernels.tanh_forward(np.ones(3, np.float32), np.ones(3, np.float32))"
    )
    output, errors = run(tmp_path / place, two)
    assert output == EXPECTED
    assert errors.count("set FASTBP_CACHE_DIR to a folder that only you can write") == 1
    assert "Traceback" not in errors


def test_base_folder(monkeypatch, tmp_path):
    for variable in VARIABLES[:3]:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert tmp_path in _cache._base_folder().parents
    for variable, folder in [("XDG_CACHE_HOME", "x/fastbp"), ("NUMBA_CACHE_DIR", "n"), ("FASTBP_CACHE_DIR", "f")]:
        monkeypatch.setenv(variable, str(tmp_path / folder.partition("/")[0]))
        assert _cache._base_folder() == tmp_path / folder


def test_no_home(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    for variable in VARIABLES[:3]:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert _cache._folder() is None
    monkeypatch.setattr(_cache, "FOLDER", None)
    assert not _cache.writable()
    monkeypatch.setattr(_cache.KernelCache, "_warned", False)
    cache = _cache.KernelCache("kernel")
    assert cache.load_overload(None, None) is None
    with pytest.warns(NumbaWarning, match="no home folder"):
        cache.save_overload(None, None)
    cache.save_overload(None, None)  # a second warning would be an error


def test_home_without_a_folder(tmp_path):
    # a home that does not exist cannot be created inside a file
    (tmp_path / "file").write_text("")
    home = str(tmp_path / "file" / "home")
    output, errors = run("", HOME=home, LOCALAPPDATA=home, USERPROFILE=home)
    assert output == EXPECTED
    assert errors.count("cannot be written") == 1


def test_writable(monkeypatch, tmp_path):
    monkeypatch.setattr(_cache, "FOLDER", tmp_path / "deep" / "folder")
    assert _cache.writable()
    assert not contents(tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(_cache, "FOLDER", tmp_path / "file" / "folder")
    assert not _cache.writable()


class Compiled:
    """Stands for what Numba would save."""

    def _reduce(self):
        return ("code",)


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """The cache folder of this process, which is empty."""
    path = tmp_path / "kernels-0123456789abcdef"
    monkeypatch.setattr(_cache, "FOLDER", path)
    path.mkdir(0o700)
    return path


def age(path, days):
    os.utime(path, (time.time() - days * 86400,) * 2)


def make(folder, *names):
    folder.mkdir(0o700, exist_ok=True)
    for name in names:
        (folder / name).write_text("")
    return [folder / name for name in names]


@pytest.mark.parametrize(
    "name",
    ["OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "USING_SVML", "LLVM_REFPRUNE_PASS", "BOUNDSCHECK", "DEBUGINFO_DEFAULT"],
)
def test_settings_are_part_of_the_key(folder, monkeypatch, name):
    cache = _cache.KernelCache("gemm.pack-f")
    cache.save_overload("signature", Compiled())
    checksum = cache._checksum("signature", b"")
    assert _cache.has("gemm.pack-f")
    assert not _cache.has("gemm.pack-d")
    monkeypatch.setattr(config, name, "another", raising=False)
    assert not _cache.has("gemm.pack-f")
    assert not cache._path("signature").exists()
    assert cache._checksum("signature", b"") != checksum


def test_the_checksum_covers_all_that_the_code_is_for(folder, monkeypatch):
    cache, other = _cache.KernelCache("a.b-f"), _cache.KernelCache("a.b-d")
    sums = {cache._checksum("x", b"code"), other._checksum("x", b"code"), cache._checksum("y", b"code")}
    monkeypatch.setattr(_cache, "FOLDER", folder.with_name("kernels-fedcba9876543210"))
    assert len(sums | {cache._checksum("x", b"code")}) == 4


def test_unused_folders_of_other_sources_are_removed(folder):
    names = "gemm.pack-f-0123abcd.bin", "gemm.pack-f-0123abcd.bin.77-89abcdef"
    old, recent = folder.with_name("kernels-" + "a" * 16), folder.with_name("kernels-" + "b" * 16)
    make(old, *names)
    make(recent, *names)
    age(old, 31)
    age(recent, 29)
    _cache.KernelCache("kernel").save_overload("signature", Compiled())
    assert sorted(folder.parent.iterdir()) == [folder, recent]
    assert len(list(recent.iterdir())) == 2


def test_nothing_else_is_removed(folder, tmp_path_factory):
    (elsewhere,) = make(tmp_path_factory.mktemp("elsewhere"), "gemm.pack-f-0123abcd.bin")
    mixed = folder.with_name("kernels-" + "c" * 16)
    kept = [*make(mixed, "notes.bin.txt"), elsewhere]
    for name in ("kernels-" + "A" * 16, "kernels-" + "a" * 17, "kernels-old", "index"):
        kept += make(folder.with_name(name), "gemm.pack-f-0123abcd.bin")
    for path in kept:
        age(path.parent, 400)
    folder.with_name("kernels-" + "d" * 16).symlink_to(elsewhere.parent)
    os.utime(folder.with_name("kernels-" + "d" * 16), (0, 0), follow_symlinks=False)
    _cache._sweep(folder)
    assert all(path.exists() for path in kept)


def test_leftovers_of_killed_processes_are_removed(folder):
    names = "a.b-f-01.bin", "a.b-f-01.bin.77-89abcdef", "a.b-f-01.bin.78-89abcdef", "other.77-89abcdef"
    kernel, leftover, in_use, other = make(folder, *names)
    for path in (kernel, leftover, other):
        age(path, 1)
    _cache._sweep(folder)
    assert sorted(folder.iterdir()) == sorted([kernel, in_use, other])


def test_use_is_noted_once_a_day(folder):
    cache = _cache.KernelCache("kernel")
    cache.save_overload("signature", Compiled())
    for days, noted in [(0.5, False), (2, True)]:
        _cache._note_use.cache_clear()
        age(folder, days)
        before = folder.stat().st_mtime
        cache.load_overload("signature", cpu_target.target_context)
        assert (folder.stat().st_mtime > before) == noted
