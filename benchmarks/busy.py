"""Time of a training step on a busy machine: beside processes that compute without a pause.

    python benchmarks/busy.py                              # beside 0, 1 and 2 busy processes
    python benchmarks/busy.py --busy 1 --networks "CNN A" --beside ../another/checkout

Mean time of a step with all CPUs, and with one thread; the last column is the first over the best of the others. With
``--beside`` the same network is trained by another checkout as well, with OMP_WAIT_POLICY set to passive and with one
thread, and counts among the others. Every number is measured in processes of its own, which take turns, and is the
median of them. float32.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

from compare import NETWORKS, data, fastbp_step
from timing import CPUS, add_json, add_options, as_json, in_process

# Ends when its parent does, which closes the other end of its input.
BUSY = "import os, threading; threading.Thread(target=lambda: (os.read(0, 1), os._exit(0))).start()\nwhile True: pass"


class Busy:
    """So many processes that compute, while the body runs."""

    def __init__(self, count):
        self.count = count

    def __enter__(self):
        command = [sys.executable, "-c", BUSY]
        self.processes = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(self.count)]

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.communicate()


def mean_time(function, seconds):
    """Mean time of a call in microseconds, after a few calls to warm up."""
    for _ in range(5):
        function()
    count, start = 0, time.perf_counter()
    stop = start + seconds
    while (now := time.perf_counter()) < stop or not count:
        function()
        count += 1
    return (now - start) / count * 1e6


def settings(beside):
    """Threads and environment of each setting, by its name."""
    result = {"fastbp": (CPUS, {}), "one thread": (1, {})}
    if beside:
        checkout = {"PYTHONPATH": os.path.abspath(beside)}
        result["beside, passive"] = CPUS, {"OMP_WAIT_POLICY": "passive", **checkout}
        result["beside, one thread"] = 1, checkout
    return result


def measure(busy, networks, beside, rounds, seconds):
    """Median times in microseconds, as {network: {setting: time}}."""
    times = {network: {name: [] for name in settings(beside)} for network in networks}
    for _ in range(rounds):
        for name, (threads, variables) in settings(beside).items():
            variables = {**variables, "FASTBP_NUM_THREADS": str(threads)}
            with Busy(busy):
                results = in_process(__file__, "fastbp", seconds, *networks, threads=CPUS, variables=variables)
            for network in networks:
                times[network][name].append(results[network])
    return {network: {name: statistics.median(t) for name, t in by.items()} for network, by in times.items()}


def ratio(times):
    """The time of fastbp over the best of the others."""
    return times["fastbp"] / min(time for name, time in times.items() if name != "fastbp")


def worker(_, seconds, *networks):
    steps = {name: fastbp_step(*data(*NETWORKS[name])) for name in networks}
    json.dump({name: mean_time(step, float(seconds)) for name, step in steps.items()}, sys.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--busy", nargs="+", type=int, default=[0, 1, 2], help="busy processes beside it")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NETWORK")
    parser.add_argument("--beside", metavar="CHECKOUT", help="another checkout to measure as well")
    add_options(parser, 0.5, "network")
    add_json(parser)
    arguments = parser.parse_args()
    rows = []
    for busy in arguments.busy:
        results = measure(busy, arguments.networks, arguments.beside, arguments.rounds, arguments.seconds)
        rows += [{"busy": busy, "network": name, "times": times} for name, times in results.items()]
    if as_json(arguments, rows):
        return
    out, names = sys.stdout.write, list(settings(arguments.beside))
    out(f"| network | busy processes | {' | '.join(f'{name} (us)' for name in names)} | ratio |\n")
    out(f"|{' --- |' * (len(names) + 3)}\n")
    for row in rows:
        cells = " | ".join(f"{row['times'][name]:.0f}" for name in names)
        out(f"| {row['network']} | {row['busy']} | {cells} | {ratio(row['times']):.2f} |\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
    else:
        main()
