"""Runs one of the scripts that print a table, for its JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path


def run(name, *arguments):
    """What the script prints, as an object."""
    command = [sys.executable, str(Path(__file__).parents[1] / f"{name}.py"), "--json", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    sys.stderr.write(result.stderr)
    if result.returncode:
        raise RuntimeError(f"{name}.py failed, exit status {result.returncode}")
    return json.loads(result.stdout)


def effort(rounds, seconds):
    """Options for so many processes and seconds, or, with FASTBP_BENCHMARKS=once, for a few calls of everything."""
    if os.environ.get("FASTBP_BENCHMARKS") == "once":
        rounds, seconds = 1, 0
    return "--rounds", rounds, "--seconds", seconds


def of(library, measured):
    """What was ``measured`` of a library. For the setup of a benchmark: asv skips it where the library is missing."""
    if library not in measured:
        raise NotImplementedError(f"{library} is not installed")
    if measured[library] is None:
        raise RuntimeError(f"{library} failed")
    return measured[library]


def ratio(result):
    """The ratio to the other libraries. For the setup of a benchmark: it fails where one of them did."""
    for library in result["times"]:
        of(library, result["times"])
    if result["ratio"] is None:
        raise NotImplementedError("no other library is installed")
    return result["ratio"]
