"""Block sizes follow from vector registers and caches, and kernels run on narrower targets."""

import math
import os
import platform
import subprocess
import sys

import pytest

from fastbp.kernels import _cpu

UNITS = [({"avx512f", "avx"}, (64, 32)), ({"avx", "avx2"}, (32, 16)), ({"neon"}, (16, 32)), ({"sse2"}, (16, 16))]
CACHES = [(16, 128), (32, 256), (48, 2048), (128, 12_288)]


@pytest.mark.parametrize(("features", "unit"), UNITS)
def test_vector_unit(features, unit):
    assert _cpu._vector_unit(features) == unit


@pytest.mark.parametrize(("features", "unit"), UNITS)
@pytest.mark.parametrize(("l1", "l2"), CACHES)
@pytest.mark.parametrize("itemsize", [4, 8])
def test_blocks(features, unit, l1, l2, itemsize, monkeypatch):
    for name, value in zip(("VECTOR_BYTES", "REGISTERS"), unit, strict=True):
        monkeypatch.setattr(_cpu, name, value)
    monkeypatch.setattr(_cpu, "L1_BYTES", l1 * 1024)
    monkeypatch.setattr(_cpu, "L2_BYTES", l2 * 1024)
    blocks = _cpu.blocks.__wrapped__(itemsize)
    assert blocks.lanes * itemsize == unit[0]
    assert blocks.nr == 2 * blocks.lanes
    assert 2 * blocks.mr + 3 <= unit[1]  # accumulators, two vectors of B, a broadcast of A
    assert blocks.kc % 8 == 0
    assert blocks.kc in (64, 512) or 8 * blocks.kc * blocks.mr * itemsize <= l2 * 1024 // 4


def test_features_are_those_of_the_target():
    assert _cpu.NAME
    assert _cpu._vector_unit(_cpu.FEATURES) == (_cpu.VECTOR_BYTES, _cpu.REGISTERS)


def test_unknown_cache_level_gives_the_default():
    assert _cpu._cache_bytes(9, 123) == 123
    assert _cpu.L1_BYTES >= 4096
    assert _cpu.L2_BYTES >= _cpu.L1_BYTES


def test_cache_sizes_are_read(monkeypatch, tmp_path):
    for index, (level, kind, size) in enumerate(
        [("1", "Instruction", "64K"), ("1", "Data", "48K"), ("2", "Unified", "2048K"), ("3", "Unified", "x")]
    ):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(text + "\n")
    (tmp_path / "index9").mkdir()
    monkeypatch.setattr(_cpu, "Path", lambda _: tmp_path)
    assert _cpu._cache_bytes(1, 5) == 48 * 1024
    assert _cpu._cache_bytes(2, 5) == 2048 * 1024
    assert _cpu._cache_bytes(3, 5) == 5


NARROW = """
import numpy as np
from fastbp import functional, kernels
from fastbp.kernels import _cpu

print(_cpu.VECTOR_BYTES, _cpu.REGISTERS)
rng = np.random.default_rng(0)
for M, N, K in [(1, 1, 1), (5, 7, 3), (6, 8, 70), (7, 9, 400), (40, 50, 60)]:
    a, b = rng.integers(-9, 9, (M, K)).astype(np.float32), rng.integers(-9, 9, (K, N)).astype(np.float32)
    out = np.full((M, N), np.nan, np.float32)
    kernels.matmul(a, b, out)
    assert (out == a @ b).all()
    y = np.empty_like(out)
    kernels.affine_tanh_forward(a, b.T, None, y)
    assert (abs(y - np.tanh(out)) <= 4 * np.finfo(np.float32).eps).all()
# fewer filters than fill the columns of the register tile, and more
for filters, dtype in [(f, d) for f in range(1, 10) for d in (np.float32, np.float64)]:
    x, w, dy = (
        rng.integers(-9, 9, shape).astype(dtype)
        for shape in [(2, 3, 6, 5), (filters, 3, 3, 2), (2, filters, 4, 4)]
    )
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 2), axis=(2, 3))
    _, dw, db = functional.conv2d_backward(dy, x, w)
    assert (dw == np.einsum("nfhw,nchwij->fcij", dy, windows)).all(), (filters, dtype)
    assert (db == dy.sum(axis=(0, 2, 3))).all()
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names features of x86")
@pytest.mark.parametrize(("features", "unit"), [("+sse2", "16 16"), ("+sse2,+sse4.1,+sse4.2,+avx,+avx2,+fma", "32 16")])
def test_narrower_targets(features, unit):
    if "avx2" in features and "avx2" not in _cpu.FEATURES:
        pytest.skip("no AVX2")
    variables = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features}
    result = subprocess.run(
        [sys.executable, "-c", NARROW],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == unit


def grant(root, cgroup, files):
    """A /proc/self/cgroup and the files of control groups under ``root``."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("cgroup", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/box/inner\n", {"box/cpu.max": "200000 100000\n", "box/inner/cpu.max": "max 100000\n"}, 2),
        ("0::/box\n", {"cpu.max": "50000 100000\n", "box/cpu.max": "400000 100000\n"}, 0.5),
        ("4:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ("4:cpu:/\n2:cpuset:/x\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ("0::/\n", {"cpu.max": "junk\n"}, math.inf),
        ("0::/gone\n", {}, math.inf),
        ("0::/\n", {"cpu.max": "1000 0\n"}, math.inf),
    ],
)
def test_quota_of_the_container(cgroup, files, quota, tmp_path):
    grant(tmp_path, cgroup, files)
    assert _cpu._quota(tmp_path) == quota


def memory(most, used, folder="", unused=0):
    """Files of a control group, version 2."""
    stat = f"anon 10\ninactive_file {unused}\nactive_file 7\n"
    return {f"{folder}memory.max": f"{most}\n", f"{folder}memory.current": f"{used}\n", f"{folder}memory.stat": stat}


@pytest.mark.parametrize(
    ("cgroup", "files", "free"),
    [
        ("", {}, 4000 * 1024),
        ("0::/\n", {"memory.max": "max\n"}, 4000 * 1024),
        ("0::/inner\n", {**memory(90000, 1000), **memory(80000, 5000, "inner/")}, 75000),
        ("0::/inner\n", {**memory(90000, 70000), **memory(80000, 5000, "inner/")}, 20000),
        ("0::/\n", memory(90000, 70000, unused=4000), 24000),
        ("0::/\n", memory(90000, 95000), 0),
        (
            "4:memory:/\n",
            {
                "memory/memory.limit_in_bytes": "70000\n",
                "memory/memory.usage_in_bytes": "30000\n",
                "memory/memory.stat": "cache 9000\ninactive_file 500\n",
            },
            40500,
        ),
    ],
)
def test_free_memory(cgroup, files, free, tmp_path):
    grant(tmp_path, cgroup, files)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 3000 kB\nSwapFree: 1000 kB\n")
    (tmp_path / "proc/self/statm").write_text("10 5 0\n")
    assert _cpu.free_memory(tmp_path) == free


def test_free_memory_is_not_known_everywhere(tmp_path):
    assert _cpu.free_memory(tmp_path) == math.inf


def test_no_control_groups(tmp_path):
    assert _cpu._quota(tmp_path) == math.inf


@pytest.mark.parametrize(("quota", "expected"), [(0.5, 1), (1.9, 1), (2.0, 2), (64.0, 3), (math.inf, 3)])
def test_available_cpus(quota, expected, monkeypatch):
    monkeypatch.setattr(_cpu, "_quota", lambda: quota)
    monkeypatch.setattr(_cpu.os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert _cpu.available() == expected
