"""Timing of one library at a time: every measurement is a process of its own, with its own CPUs and threads."""

import argparse
import importlib.util
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

CPUS = len(os.sched_getaffinity(0))
THREADS = sorted({1, CPUS})  # what is measured unless something else is asked for
TIMEOUT = 900  # seconds for a process


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


def duration(text):
    """Type of an option: seconds."""
    if not text.replace(".", "", 1).isdecimal():
        raise argparse.ArgumentTypeError(f"must be a number of at least 0, got {text}")
    return float(text)


def add_options(parser, seconds=None, timed=None):
    """The options of all scripts: threads; and rounds and seconds of what is ``timed``."""

    def threads(text):
        if not text.isdecimal() or not 1 <= int(text) <= CPUS:
            raise argparse.ArgumentTypeError(f"must be from 1 to {CPUS}, the CPUs of this process, got {text}")
        return int(text)

    def rounds(text):
        if not text.isdecimal() or int(text) < 1:
            raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
        return int(text)

    parser.add_argument("--threads", nargs="+", type=threads, default=THREADS)
    if timed:
        parser.add_argument("--rounds", type=rounds, default=3, help="processes of each library, in turn")
        parser.add_argument("--seconds", type=duration, default=seconds, help=f"timing of each {timed} in each process")


def add_json(parser):
    """Options for programs that read the results."""

    def file(text):
        try:
            Path(text).open("a").close()
        except OSError as error:
            raise argparse.ArgumentTypeError(f"{text} cannot be written: {error.strerror}") from None
        return text

    parser.add_argument("--json", action="store_true", help="print everything as JSON, and no table")
    parser.add_argument("--save", metavar="FILE", type=file, help="write everything as JSON to this file, too")


def as_json(arguments, measured):
    """Do what these options say; whether nothing else shall be printed."""
    if arguments.save:
        Path(arguments.save).write_text(json.dumps(measured))
    if arguments.json:
        json.dump(measured, sys.stdout)
    return arguments.json


def installed(libraries, packages=None):
    """Those of the ``libraries`` whose package is installed; a line on standard error for each of the others.

    The package of a library is the one of its name where ``packages`` has no other.
    """
    found = {name: importlib.util.find_spec((packages or {}).get(name, name)) for name in libraries}
    for name in libraries:
        if found[name] is None:
            sys.stderr.write(f"{name} is not installed and left out\n")
    return [name for name in libraries if found[name]]


def in_process(script, library, *arguments, threads, variables=None):
    """What ``script --worker library arguments`` prints as JSON, run on the first ``threads`` CPUs.

    ``variables`` of the environment may differ from what is set for as many threads.
    Where it fails, the last line of its errors is printed, and the result is None; without fastbp there is no result.
    """
    cpus = sorted(os.sched_getaffinity(0))[:threads]
    names = ("FASTBP_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    command = [sys.executable, script, "--worker", library, *map(str, arguments)]
    try:
        result = subprocess.run(
            command,
            env={**os.environ, **dict.fromkeys(names, str(threads)), **(variables or {})},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            preexec_fn=lambda: os.sched_setaffinity(0, cpus),
        )
        if result.returncode == 0:
            return json.loads(result.stdout)
        reason = (result.stderr.strip().splitlines() or [f"exit status {result.returncode}"])[-1]
    except subprocess.TimeoutExpired:
        reason = f"not done after {TIMEOUT} s"
    except ValueError:
        reason = f"printed {result.stdout[:50]!r} in place of results"
    sys.stderr.write(f"{library} failed: {reason}\n")
    if library == "fastbp":
        sys.exit(1)
    return None


def take_turns(script, libraries, rounds, cases, *arguments, threads):
    """Best results of `in_process` over several rounds, as {case: {library: times, or None where it failed}}."""
    best = {case: {} for case in cases}
    for _ in range(rounds):
        for library in libraries:
            times = in_process(script, library, *arguments, *cases, threads=threads)
            for case, results in best.items():
                before = results.get(library, math.inf)
                results[library] = None if None in (times, before) else np.minimum(times[case], before).tolist()
    return best


def ratio(times):
    """Time of the fastest other library over that of fastbp; None without another, or where one failed."""
    others = [time for library, time in times.items() if library != "fastbp"]
    return min(others) / times["fastbp"] if others and None not in others else None


def mean(ratios):
    """Geometric mean."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def shown(value, form):
    """A cell of a table."""
    return "failed" if value is None else format(value, form)
