"""What the kernels run on, as ``fastbp info`` shows it."""

import platform

import llvmlite
import numba
import numpy as np

from fastbp._version import __version__
from fastbp.kernels import _cache, _cpu, _runtime


def describe() -> str:
    """Versions, processor, block sizes, threads and cache folder, one line each."""
    notable = ("avx512f", "avx2", "fma", "avx", "sse4.2", "neon", "sve")
    features = ", ".join(name for name in notable if name in _cpu.FEATURES) or "none of note"
    obstacle = _cache.obstacle()
    rows = [
        ("fastbp", __version__),
        ("Python", platform.python_version()),
        ("NumPy, Numba, llvmlite", f"{np.__version__}, {numba.__version__}, {llvmlite.__version__}"),
        ("processor", f"{_cpu.NAME}, {features}"),
        ("vector registers", f"{_cpu.REGISTERS} of {8 * _cpu.VECTOR_BYTES} bits"),
        ("caches", f"L1 {_cpu.L1_BYTES // 1024} KB, L2 {_cpu.L2_BYTES // 1024} KB"),
    ]
    for name, itemsize in (("float32", 4), ("float64", 8)):
        sizes = _cpu.blocks(itemsize)
        rows.append((f"blocks {name}", f"tile {sizes.mr} x {sizes.nr}, KC {sizes.kc}"))
    rows += [
        ("threads", f"{_runtime.get_num_threads()} of {numba.config.NUMBA_NUM_THREADS}"),
        ("kernel cache", str(_cache.FOLDER or "none")),
        ("cache writable", f"no: {obstacle}; kernels compile anew in every process" if obstacle else "yes"),
    ]
    return "\n".join(f"{name:<24}{value}" for name, value in rows)
