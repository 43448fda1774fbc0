"""Compiled kernels on disk: kept, shared by processes, renewed when a source changes, and never in the way."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core.errors import NumbaWarning

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
    """A cache that a first process has filled."""
    folder = tmp_path_factory.mktemp("cache")
    assert run(folder)[0] == EXPECTED
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
    assert errors.count("set FASTBP_CACHE_DIR to a folder that can be written") == 1
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
