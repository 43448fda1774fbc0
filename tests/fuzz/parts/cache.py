"""A spoilt cache of compiled kernels: programs give the right results, whatever its files hold."""

import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from fuzz import mutations
from fuzz.arrays import pick
from fuzz.finding import Finding, require

FOLDER = Path(tempfile.mkdtemp())
PROGRAM = """
import numpy as np
import fastbp
from fastbp import functional as F
x = np.arange(-6.0, 6.0).reshape(3, 4)
assert np.allclose(F.tanh_forward(x), np.tanh(x), rtol=1e-14, atol=0)
assert np.allclose(F.softmax_forward(x).sum(1), 1, rtol=1e-14, atol=0)
assert (F.sgd_update(x, x, 0.5) == x / 2).all()
print("right")
"""


def run(folder):
    environment = {**os.environ, "FASTBP_CACHE_DIR": str(folder)}
    return subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=250)


@cache
def whole():
    """A cache with all that the program compiles."""
    folder = FOLDER / "whole"
    folder.mkdir(mode=0o700)
    made = run(folder)
    require(made.returncode == 0, f"a new cache: {made.stderr[-300:]}", "crash")
    return folder


def case(rng):
    folder = FOLDER / "spoilt"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole(), folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    require(len(files) > 2, "nothing is in the cache")
    kind = pick(rng, "bytes", "bytes", "swapped", "swapped", "empty", "folder", "foreign", "all")
    one, two = (files[int(i)] for i in rng.choice(len(files), 2, replace=False))
    if kind == "swapped":
        first, second = one.read_bytes(), two.read_bytes()
        one.write_bytes(second)
        two.write_bytes(first)
    elif kind == "folder":
        one.unlink()
        one.mkdir()
    else:
        for path in files if kind == "all" else [one]:
            path.write_bytes(
                {"empty": b"", "foreign": two.read_bytes()}.get(kind) or mutations.bytewise(rng, path.read_bytes())
            )
    made = run(folder)
    if made.returncode or made.stdout != "right\n":
        last = (made.stderr.strip().splitlines() or ["nothing said"])[-1]
        raise Finding("crash", f"{kind} of {one.name}, {two.name}: exit status {made.returncode}, {last}")
    return kind
