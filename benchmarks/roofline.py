"""How near each kernel comes to what the processor can do: GFLOP/s, GB/s, and the fraction of the roofline.

    python benchmarks/roofline.py                    # float32, 1 thread and all CPUs
    python benchmarks/roofline.py --threads 1 --dtype float64

In the same process and run, a loop of multiply-adds in registers gives the peak P of operations, and a = b + s c, on
arrays beyond the caches, the peak B of bytes. A kernel of F operations on operands of M bytes, each read or written
once, takes at least max(F / P, M / B): the fraction is that time over the one measured. (Williams, Waterman and
Patterson, Roofline, Communications of the ACM 52, 2009.) Above 1 are kernels that make fewer operations than the plain
sums, which are counted: windows of 3 x 3 by Winograd's algorithm; or whose operands stay in a cache.
"""

import argparse
import json
import os
import sys

from suite import activation, affine, avg_pool, conv, gemm, im2col, loss, max_pool, optim, softmax, standardize
from timing import add_json, add_options, as_json, best_time, in_process

FILES = gemm, affine, conv, im2col, max_pool, avg_pool, activation, softmax, standardize, loss, optim
KERNELS = {name: make for file in FILES for name, make in file.CASES.items()}


def measure(dtype, seconds):
    """Peaks of operations and bytes, and for each kernel its operations, bytes and best time in microseconds."""
    import peak

    threads = len(os.sched_getaffinity(0))
    result = {"gflops": peak.gflops(dtype, threads, seconds), "gbytes": peak.gbytes(dtype, threads, seconds)}
    result["kernels"] = {}
    for name, make in KERNELS.items():
        call, operations, arrays = make(dtype)
        nbytes = sum(a.nbytes for a in arrays)
        result["kernels"][name] = {"operations": operations, "bytes": nbytes, "time": best_time(call, seconds)}
    result["gbytes"] = max(result["gbytes"], peak.gbytes(dtype, threads, seconds))  # the machine is shared, perhaps
    return result


def run(dtype, threads, rounds, seconds):
    """`measure` in several processes: the best of each; and for every kernel what it reaches of the roofline."""
    best = None
    for _ in range(rounds):
        result = in_process(__file__, "fastbp", dtype, seconds, threads=threads)
        best = best or result
        for peak in ("gflops", "gbytes"):
            best[peak] = max(best[peak], result[peak])
        for name, kernel in best["kernels"].items():
            kernel["time"] = min(kernel["time"], result["kernels"][name]["time"])
    for kernel in best["kernels"].values():
        least = [kernel["operations"] / best["gflops"] / 1e3, kernel["bytes"] / best["gbytes"] / 1e3]
        kernel["fraction"] = max(least) / kernel["time"]
        kernel["bound"] = "operations" if least[0] > least[1] else "memory"
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, 0.3, "kernel")
    parser.set_defaults(rounds=2)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    add_json(parser)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        _, dtype, seconds = arguments.worker
        json.dump(measure(dtype, float(seconds)), sys.stdout)
        return
    dtype, rounds, seconds = arguments.dtype, arguments.rounds, arguments.seconds
    measured = {threads: run(dtype, threads, rounds, seconds) for threads in arguments.threads}
    if as_json(arguments, measured):
        return
    for threads, result in measured.items():
        out = sys.stdout.write
        out(f"{threads} thread(s): peak {result['gflops']:.0f} GFLOP/s, {result['gbytes']:.1f} GB/s\n\n")
        out("| kernel | time (us) | GFLOP/s | GB/s | of the roofline | bound by |\n|" + " --- |" * 6 + "\n")
        for name, kernel in result["kernels"].items():
            rates = [kernel[key] / kernel["time"] / 1e3 for key in ("operations", "bytes")]
            cells = f"{kernel['time']:.0f}", f"{rates[0]:.1f}", f"{rates[1]:.1f}", f"{kernel['fraction']:.2f}"
            out(f"| {name} | {' | '.join(cells)} | {kernel['bound']} |\n")
        out("\n")


if __name__ == "__main__":
    main()
