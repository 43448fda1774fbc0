"""Memory of a training step beside PyTorch: by how much a network and three steps raise the peak of a process.

    pip install --editable ".[bench]"
    python benchmarks/memory.py
    python benchmarks/memory.py --networks "CNN A" 784-512-512-10

Each library runs in a process of its own, on one thread, and has trained a batch of two before, so that its code is
loaded. Linux only: the peak is read from /proc. fastbp also says what `cost` predicts: parameters, activations and
deltas, without the gradients, which plain gradient descent does not store.
"""

import argparse
import ctypes
import gc
import importlib.util
import json
import sys
from pathlib import Path

from compare import LIBRARIES, NETWORKS, data
from timing import in_process

MIB = 2**20


def _status(key):
    """A size from the status of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def worker(library, network):
    """Print the bytes by which the peak rises, and for fastbp the prediction."""
    batch, shape, layers = NETWORKS[network]
    make = LIBRARIES[library][0]
    step = make(*data(2, shape, layers))
    step()
    del step
    gc.collect()
    values = data(batch, shape, layers)
    ctypes.CDLL(None).malloc_trim(0)  # gives back what was freed, else it would be used again unseen
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = _status("VmRSS")
    step = make(*values)
    for _ in range(3):
        step()
    result = {"rise": _status("VmHWM") - before}
    if library == "fastbp":
        (net,) = (cell.cell_contents for cell in step.__closure__ if hasattr(cell.cell_contents, "cost"))
        cost = net.cost(batch)
        result["predicted"] = cost.training_bytes - cost.parameters * cost.itemsize
    json.dump(result, sys.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=["CNN A", "CNN B"])
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(*arguments.worker)
        return
    out = sys.stdout.write
    out("| network, batch | fastbp (MiB) | predicted (MiB) | torch (MiB) |\n| --- | --- | --- | --- |\n")
    if importlib.util.find_spec("torch") is None:
        sys.stderr.write("torch is not installed and left out\n")
    for network in arguments.networks:
        ours, theirs = (
            in_process(__file__, library, network, threads=1) if importlib.util.find_spec(library) else None
            for library in ("fastbp", "torch")
        )
        cells = [ours and ours["rise"], ours and ours["predicted"], theirs and theirs["rise"]]
        text = " | ".join(f"{cell / MIB:.0f}" if cell else "-" for cell in cells)
        out(f"| {network}, {NETWORKS[network][0]} | {text} |\n")


if __name__ == "__main__":
    main()
