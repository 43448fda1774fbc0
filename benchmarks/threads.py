"""How much faster a product and training steps become with threads.

    python benchmarks/threads.py                       # 1, 2, 4 ... all CPUs
    python benchmarks/threads.py --threads 1 8 --work "CNN B"

Strong scaling: the same work on t threads; speed-up T(1) / T(t), efficiency the speed-up over t. Weak scaling: t times
as many samples, or rows of the product, on t threads; efficiency T(1) / T(t). Every number of threads is measured in a
process of its own on as many CPUs, the processes take turns, and the best time of each counts. float32.
"""

import argparse
import json
import sys

import numpy as np
from compare import NETWORKS, data, fastbp_step
from timing import CPUS, add_json, add_options, as_json, best_time, in_process

WORK = ["product 1024 x 1024 x 1024", "784-50-10", "784-512-512-10", "CNN A", "CNN B"]


def up_to(cpus):
    """1, 2, 4 and so on, and all CPUs."""
    return sorted({2**n for n in range(cpus.bit_length())} & set(range(cpus + 1)) | {cpus})


def call_of(work, times):
    """A call of ``times`` the work."""
    if work.startswith("product"):
        from fastbp import kernels

        a, b = np.random.default_rng(0).standard_normal((2, 1024, 1024)).astype(np.float32)
        a = np.tile(a, (times, 1))
        c = np.empty_like(a)
        return lambda: kernels.matmul(a, b, c)
    batch, *network = NETWORKS[work]
    return fastbp_step(*data(batch * times, *network))


def measure(work, threads, rounds, seconds):
    """Best times in microseconds of the work, and of as many times of it, by numbers of threads."""
    best = {t: {} for t in threads}
    for _ in range(rounds):
        for t in threads:
            for scaling, times in (("strong", 1), ("weak", t)):
                time = in_process(__file__, "fastbp", work, times, seconds, threads=t)["time"]
                best[t][scaling] = min(time, best[t].get(scaling, time))
    one = best[min(threads)]
    for t, result in best.items():
        result["speedup"] = one["strong"] / result["strong"]
        result["efficiency"] = result["speedup"] * min(threads) / t
        result["weak efficiency"] = one["weak"] / result["weak"]
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", nargs="+", choices=WORK, default=WORK, metavar="WORK")
    add_options(parser, 0.5, "call")
    parser.set_defaults(threads=up_to(CPUS), rounds=2)
    add_json(parser)
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        _, work, times, seconds = arguments.worker
        json.dump({"time": best_time(call_of(work, int(times)), float(seconds))}, sys.stdout)
        return
    out = sys.stdout.write
    threads = sorted({1, *arguments.threads})
    if threads == [1] and not arguments.json:
        out("one CPU: there is nothing to compare\n")
        return
    measured = {work: measure(work, threads, arguments.rounds, arguments.seconds) for work in arguments.work}
    if as_json(arguments, measured):
        return
    out("| work | threads | time (us) | speed-up | efficiency | t times the work (us) | weak efficiency |\n")
    out(f"|{' --- |' * 7}\n")
    for work, best in measured.items():
        for t, result in best.items():
            ratios = (f"{result[key]:.2f}" for key in ("speedup", "efficiency", "weak efficiency"))
            speedup, efficiency, weak = ratios
            times = f"{result['strong']:.0f}", f"{result['weak']:.0f}"
            out(f"| {work} | {t} | {times[0]} | {speedup} | {efficiency} | {times[1]} | {weak} |\n")


if __name__ == "__main__":
    main()
