"""``kill -9`` of processes that save a network again and again: the file is whole, and the next save leaves nothing."""

import os
import signal
import tempfile
import time
from pathlib import Path

import numpy as np

import fastbp as fb
from fuzz.arrays import pick
from fuzz.finding import require

DONE = 8  # bytes by which the process says how often it has saved


def case(rng):
    units = int(pick(rng, 1, 100, 2000))
    net = fb.Sequential(fb.Affine(units), input_shape=500, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.npz"
        mark(net, 0)
        net.save(path)
        kills = int(rng.integers(1, 12))
        for _ in range(kills):
            done = killed(net, path, rng.exponential(0.02 if units > 100 else 0.004))
            loaded = fb.Sequential.load(path).parameters()[0].value
            version = int(loaded.flat[0])
            require((loaded == version).all(), "a file of two versions")
            require(version in (done, done + 1), f"version {version} is in the file, {done} was saved")
            mark(net, 0)
            net.save(path)
            left = [name for name in os.listdir(folder) if name != path.name]
            require(not left, f"the next save left {left} lying there", "leftovers")
    return {"kills": kills, "networks": 1}


def mark(net, version):
    net.parameters()[0].for_update()[...] = version


def killed(net, path, delay):
    """Save versions 1, 2, 3, ... in a process that is killed after a while: how many it has finished."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            for version in range(1, 10**6):
                os.write(write, b"\0" * DONE)  # the version before is done
                mark(net, version)
                net.save(path)
        finally:
            os._exit(1)
    os.close(write)
    os.read(read, DONE)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    count = 0
    while more := os.read(read, 65536):
        count += len(more) // DONE
    os.close(read)
    return np.int64(count).item()
