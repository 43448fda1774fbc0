"""``fastbp info``: every line of it, against what the rest of the program says."""

import platform
import re

import numba
import numpy as np
import pytest

import fastbp as fb
from fastbp.cli import main
from fastbp.info import describe
from fastbp.kernels import _cache, _cpu


def rows() -> dict[str, str]:
    return {line[:24].rstrip(): line[24:] for line in describe().splitlines() if not line.startswith("note")}


def test_the_command_prints_the_description(capsys):
    assert main(["info"]) == 0
    out, err = capsys.readouterr()
    assert out == describe() + "\n"
    assert err == ""


def test_versions():
    assert rows()["fastbp"] == fb.__version__
    assert rows()["Python"] == platform.python_version()
    assert rows()["NumPy, Numba, llvmlite"].startswith(f"{np.__version__}, {numba.__version__}, ")


def test_processor_and_vector_width():
    assert rows()["processor"].startswith(_cpu.NAME)
    assert rows()["vector registers"] == f"{_cpu.REGISTERS} of {8 * _cpu.VECTOR_BYTES} bits"


@pytest.mark.parametrize(("name", "itemsize"), [("float32", 4), ("float64", 8)])
def test_block_sizes(name, itemsize):
    sizes = _cpu.blocks(itemsize)
    numbers = [int(text) for text in re.findall(r"\d+", rows()[f"blocks {name}"])]
    assert numbers == [sizes.mr, sizes.nr, sizes.kc]


def test_threads_are_those_set():
    before = fb.get_num_threads()
    try:
        fb.set_num_threads(1)
        assert rows()["threads"] == f"1 of {numba.config.NUMBA_NUM_THREADS}"
    finally:
        fb.set_num_threads(before)


def test_the_cache_folder_and_whether_it_can_be_written(monkeypatch, tmp_path):
    monkeypatch.setattr(_cache, "FOLDER", tmp_path / "kernels")
    assert rows()["kernel cache"] == str(tmp_path / "kernels")
    assert rows()["cache writable"] == "yes"
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(_cache, "FOLDER", tmp_path / "file" / "kernels")
    assert rows()["cache writable"].startswith(f"no: {tmp_path / 'file' / 'kernels'} cannot be written")
    assert rows()["cache writable"].endswith("; kernels compile anew in every process")
    monkeypatch.setattr(_cache, "FOLDER", None)
    assert rows()["kernel cache"] == "none"
    assert rows()["cache writable"].startswith("no: there is no home folder")
