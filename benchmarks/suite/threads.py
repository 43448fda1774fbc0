"""Speed-up and efficiency of a product and of training steps on 1, 2, 4 ... all CPUs."""

import os
from pathlib import Path

from .script import run

THREADS = Path(__file__).parents[1] / "threads.py"
WORK = ["product 1024 x 1024 x 1024", "784-50-10", "784-512-512-10", "CNN A", "CNN B"]
CPUS = len(os.sched_getaffinity(0))


class Scaling:
    params = (WORK, sorted({2**n for n in range(CPUS.bit_length())} & set(range(CPUS + 1)) | {CPUS}))
    param_names = ("work", "threads")
    timeout = 1200

    def setup_cache(self):
        return run(THREADS, "--json", "--rounds", 2, "--seconds", 0.3)

    def track_speedup(self, measured, work, threads):
        return measured[work][str(threads)]["speedup"]

    def track_efficiency(self, measured, work, threads):
        return measured[work][str(threads)]["efficiency"]

    def track_weak_efficiency(self, measured, work, threads):
        return measured[work][str(threads)]["weak efficiency"]
