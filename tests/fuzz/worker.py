"""The process in which the cases of one part run. Lines on its standard output tell the parent where it stands:

case SEED               is about to run
done COUNTS             what came of it, as JSON
finding KIND TEXT       what went wrong; the process ends, for its state may be spoilt
"""

import faulthandler
import importlib
import itertools
import json
import os
import resource
import sys
import time
import traceback
import warnings
import zlib
from pathlib import Path

import numpy as np

from fuzz.finding import Finding

MEMORY = 4 * 2**30  # bytes of addresses beyond what the process has at its start, where a part says nothing else


def work(part, first, seconds, cases):
    """Run cases of the module ``part`` from the seed ``first`` on: so many, or if that is negative for so long."""
    out = os.dup(1)
    os.dup2(2, 1)  # what the code under test prints is none of these lines

    def tell(*words):
        os.write(out, f"{' '.join(map(str, words))}\n".encode())

    faulthandler.enable()
    warnings.simplefilter("error")
    module = importlib.import_module(part)
    limit(getattr(module, "MEMORY", MEMORY))
    name, end = zlib.crc32(part.encode()), time.monotonic() + seconds
    for seed in itertools.count(first):
        tell("case", seed)
        try:
            made = module.case(np.random.default_rng([name, seed]))
        except BaseException as error:
            traceback.print_exc()
            kind = error.kind if isinstance(error, Finding) else "exception"
            text = str(error) if isinstance(error, Finding) else f"{type(error).__name__}: {error}"
            tell("finding", json.dumps([kind, " ".join(text.split())[:600]]))
            return
        tell("done", json.dumps({made: 1} if isinstance(made, str) else made))
        if seed + 1 == first + cases or (cases < 0 and time.monotonic() > end):
            return


def limit(memory):
    """No more addresses than these beyond the present ones, and no core dumps."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pages = Path("/proc/self/statm")
    if pages.exists():
        most = int(pages.read_text().split()[0]) * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main(arguments):
    part, first, seconds, cases = arguments
    work(part, int(first), float(seconds), int(cases))
    sys.stderr.flush()
