"""Memory of a training step: by how much a network and three steps raise the peak of a process.

    pip install --editable ".[bench]"
    python benchmarks/memory.py                                       # beside PyTorch
    python benchmarks/memory.py --networks "CNN A" 784-512-512-10
    python benchmarks/memory.py --grow                                # over batch size and hidden width

The memory of backpropagation is O(N n_h), a number for each sample and hidden unit, besides the weights. With --grow,
784-n-n-10 networks show it: the slope of the rise over N n_h, in bytes, beside that of the prediction.
Each library runs in a process of its own, on one thread, and has trained a batch of two before, so that its code is
loaded. Linux only: the peak is read from /proc. fastbp also says what `cost` predicts: parameters, activations and
deltas, without the gradients, which plain gradient descent does not store.
"""

import argparse
import ctypes
import gc
import json
import sys
from pathlib import Path

import numpy as np
from compare import LIBRARIES, NETWORKS, data
from timing import add_json, as_json, in_process, installed, shown

MIB = 2**20
BATCHES_AND_WIDTHS = [(batch, hidden) for batch in (256, 1024, 4096) for hidden in (256, 512, 1024)]


def _status(key):
    """A size from the status of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def network_of(name):
    """One of NETWORKS, or for "N,n" a network with two layers of n hidden units on batches of N."""
    if name in NETWORKS:
        return NETWORKS[name]
    batch, hidden = map(int, name.split(","))
    return batch, (784,), [hidden, hidden, 10]


def predicted(cost):
    """Bytes of a step by ``net.cost``, without the gradients, which plain gradient descent does not store."""
    return cost.training_bytes - cost.parameters * cost.itemsize


def worker(library, network):
    """Print the bytes by which the peak rises, and for fastbp the prediction."""
    batch, shape, layers = network_of(network)
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
        result["predicted"] = predicted(cost)
        result["parameters"] = cost.parameters * cost.itemsize
    json.dump(result, sys.stdout)


def grow():
    """Rise and prediction in bytes over batch size and width, and their slopes over N n_h without the weights."""
    points = []
    for batch, hidden in BATCHES_AND_WIDTHS:
        result = in_process(__file__, "fastbp", f"{batch},{hidden}", threads=1)
        points.append({"batch": batch, "hidden": hidden, **result})
    units = [point["batch"] * point["hidden"] for point in points]
    slopes = {}
    for key in ("rise", "predicted"):
        slopes[key] = float(np.polyfit(units, [point[key] - point["parameters"] for point in points], 1)[0])
    return {"points": points, "slopes": slopes}


def print_growth(result):
    out = sys.stdout.write
    out("| batch | hidden units | rise (MiB) | predicted (MiB) |\n| --- | --- | --- | --- |\n")
    for point in result["points"]:
        sizes = (f"{point[key] / MIB:.1f}" for key in ("rise", "predicted"))
        out(f"| {point['batch']} | {point['hidden']} | {' | '.join(sizes)} |\n")
    slopes = result["slopes"]
    out(f"\nbytes for each sample and hidden unit: {slopes['rise']:.1f}, predicted {slopes['predicted']:.1f}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=["CNN A", "CNN B"])
    parser.add_argument("--grow", action="store_true", help="fastbp alone, over batch size and hidden width")
    add_json(parser)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(*arguments.worker)
        return
    if arguments.grow:
        result = grow()
        if not as_json(arguments, result):
            print_growth(result)
        return
    libraries = installed(("fastbp", "torch"))
    measured = {
        network: {library: in_process(__file__, library, network, threads=1) for library in libraries}
        for network in arguments.networks
    }
    if as_json(arguments, measured):
        return
    out = sys.stdout.write
    heads = " | ".join(f"{library} (MiB)" for library in libraries)
    out(f"| network, batch | {heads} | predicted (MiB) |\n|{' --- |' * (len(libraries) + 2)}\n")
    for network, results in measured.items():
        cells = [shown(result and result["rise"] / MIB, ".0f") for result in results.values()]
        predicted = f"{results['fastbp']['predicted'] / MIB:.0f}"
        out(f"| {network}, {NETWORKS[network][0]} | {' | '.join(cells)} | {predicted} |\n")


if __name__ == "__main__":
    main()
