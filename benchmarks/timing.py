"""Timing of one library at a time: every measurement is a process of its own, with its own CPUs and threads."""

import json
import os
import subprocess
import sys
import time


def best_time(function, seconds):
    """Best time of a call in microseconds, over samples of at least a millisecond, after a few calls to warm up."""
    for _ in range(3):
        function()
    start = time.perf_counter()
    function()
    loops = max(1, int(1e-3 / (time.perf_counter() - start)))
    best, stop = float("inf"), time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < stop:
        start = time.perf_counter()
        for _ in range(loops):
            function()
        best = min(best, (time.perf_counter() - start) / loops)
    return best * 1e6


def in_process(script, *arguments, threads):
    """What ``script --worker arguments`` prints as JSON, run on the first ``threads`` CPUs; None if it fails."""
    cpus = sorted(os.sched_getaffinity(0))[:threads]
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    result = subprocess.run(
        [sys.executable, script, "--worker", *map(str, arguments)],
        env={**os.environ, **dict.fromkeys(names, str(threads))},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cpus),
    )
    return json.loads(result.stdout) if result.returncode == 0 else None
