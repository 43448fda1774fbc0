"""Training steps: time of the fastest other library over that of fastbp."""

import os
from pathlib import Path

from .script import run

COMPARE = Path(__file__).parents[1] / "compare.py"


class Ratio:
    params = (
        ["64-100-10", "784-50-10", "784-512-512-10", "1024-2048-2048-2048-1000", "CNN A", "CNN B"],
        sorted({1, len(os.sched_getaffinity(0))}),
    )
    param_names = ("network", "threads")
    unit = "ratio"
    timeout = 900

    def track_ratio(self, network, threads):
        return run(COMPARE, "--json", "--networks", network, "--threads", threads, "--rounds", 2, "--seconds", 1)[0][
            "ratio"
        ]
