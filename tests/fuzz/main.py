"""Options, the parts in turn, and the table of what came of them."""

import argparse
import itertools
import math
import os
import random
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fuzz import child, worker

PARTS = tuple(sorted(path.stem for path in (Path(__file__).parent / "parts").glob("[a-z]*.py")))
SLICE = 20  # seconds at most that a part runs before it is the turn of the next
CPUS = ("native", "avx2", "baseline")


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def options(arguments):
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description="Attack fastbp for as long as you like.")
    parser.add_argument("--minutes", type=float, default=1.0, help="time for all parts together (default: %(default)s)")
    parser.add_argument("--parts", default=",".join(PARTS), help="names with commas between (default: all)")
    parser.add_argument("--seed", type=int, help="of the whole run (default: a new one)")
    parser.add_argument("--case", type=int, help="run only the case of this seed, which a finding names")
    parser.add_argument("--times", type=int, default=1, help="repeat the case: interrupts are a matter of time")
    parser.add_argument("--cpu", choices=CPUS, default="native", help="compile for an older processor")
    parser.add_argument("--jobs", type=int, default=1, help="parts at once (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    chosen.parts = chosen.parts.split(",")
    unknown = [part for part in chosen.parts if part not in PARTS]
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if chosen.seed is None:
        chosen.seed = random.randrange(10**6)
    return chosen


def environment(cpu):
    """The variables with which children compile for ``cpu``."""
    if cpu == "native":
        return dict(os.environ)
    if cpu == "baseline":
        target = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse,+sse2"}
    else:
        from llvmlite import binding

        # a name alone leaves the features of this machine on
        features = [name for name, has in binding.get_host_cpu_features().items() if has]
        kept = [name for name in sorted(features) if not name.startswith(("avx512", "avx10", "amx", "evex512"))]
        target = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ",".join(f"+{name}" for name in kept)}
    return {**os.environ, **target}


def report(found, cpu):
    """One line that says what was found, and the command that repeats it."""
    target = "" if cpu == "native" else f" --cpu {cpu}"
    part = found.part.rpartition(".")[2]
    say(f"{part}: {found.kind}: {found.text}")
    repeats = f"    python tests/fuzz --parts {part} --case {found.seed}{target}"
    say(found.details if found.seed is None else repeats)  # what ends before its first case says why


def table(outcomes):
    """Rows of a text table: the part, its cases, what came of them, and the findings by kind."""
    rows = [("part", "cases", "findings", "what came of the cases")]
    for part, outcome in outcomes.items():
        kinds = Counter(found.kind for found in outcome.findings)
        findings = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "none"
        counts = ", ".join(f"{name} {count}" for name, count in sorted(outcome.counts.items()))
        rows.append((part, str(outcome.cases), findings, counts))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows]


def repeat(chosen):
    """The case of one seed, with all that it prints."""
    (part,) = chosen.parts
    for number in range(chosen.times):
        outcome = child.run(f"fuzz.parts.{part}", chosen.case, 0, environment(chosen.cpu), cases=1)
        for found in outcome.findings:
            report(found, chosen.cpu)
            say(found.details)
            return 1
        say(f"time {number + 1}: {dict(outcome.counts)}")
    return 0


def attack(chosen):
    """All parts in turn until the time is over."""
    outcomes = {part: child.Outcome() for part in chosen.parts}
    seconds = min(SLICE, 60 * chosen.minutes * chosen.jobs / len(outcomes))
    variables, end = environment(chosen.cpu), time.monotonic() + 60 * chosen.minutes
    turns = enumerate(itertools.cycle(chosen.parts))

    def take_turns():
        """Each part once at least, unless Ctrl-C comes."""
        for number, part in turns:
            first = chosen.seed * 10**10 + number * 10**6
            made = child.run(f"fuzz.parts.{part}", first, seconds, variables)
            outcomes[part].add(made)
            for found in made.findings:
                report(found, chosen.cpu)
            if time.monotonic() > end and (number >= len(chosen.parts) - chosen.jobs or end < 0):
                return

    say(f"seed {chosen.seed}, {chosen.cpu} code, {chosen.minutes:g} minutes of {', '.join(chosen.parts)}")
    with ThreadPoolExecutor(chosen.jobs) as jobs:
        try:
            for job in [jobs.submit(take_turns) for _ in range(chosen.jobs)]:
                job.result()
        except KeyboardInterrupt:
            say("after these slices it ends")
            end = -math.inf
    for row in table(outcomes):
        say(row)
    return 1 if any(outcome.findings for outcome in outcomes.values()) else 0


def main():
    arguments = sys.argv[1:]
    if arguments[:1] == ["--worker"]:
        return worker.main(arguments[1:])
    chosen = options(arguments)
    if chosen.case is not None and len(chosen.parts) != 1:
        sys.exit("--case needs --parts with the one part that the seed is of")
    return attack(chosen) if chosen.case is None else repeat(chosen)
