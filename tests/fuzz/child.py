"""One part in a process of its own, as its parent sees it."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = Path(__file__).parent
PATIENCE = 300  # seconds without a sign of life; compiling all kernels of a case takes less


@dataclass
class Found:
    """A finding: where, which case, of what kind, in one line, and the last lines of the process."""

    part: str
    seed: int | None
    kind: str
    text: str
    details: str


@dataclass
class Outcome:
    """What has come of some cases of a part."""

    cases: int = 0
    counts: Counter = field(default_factory=Counter)
    findings: list = field(default_factory=list)

    def add(self, other):
        self.cases += other.cases
        self.counts += other.counts
        self.findings += other.findings


def run(part, first, seconds, environment, cases=-1):
    """Cases of the module ``part`` from the seed ``first`` on; after a finding the next one runs in a new process."""
    outcome, end = Outcome(), time.monotonic() + seconds
    while True:
        last, finding = _run_once(part, first, max(0.0, end - time.monotonic()), environment, cases, outcome)
        if finding is not None:
            outcome.findings.append(finding)
        if finding is None or last is None or cases > 0 or time.monotonic() > end:
            return outcome
        first = last + 1


def _run_once(part, first, seconds, environment, cases, outcome):
    """One process: the seed of its last case, and the finding with which it ended or None."""
    command = [sys.executable, str(PACKAGE), "--worker", part, str(first), str(seconds), str(cases)]
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryDirectory() as folder:  # for all that it leaves behind
        variables = {**environment, "TMPDIR": folder}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, env=variables, start_new_session=True
        )
        seed = finding = None
        try:
            for line in _lines(process.stdout):
                kind, _, rest = line.partition(" ")
                if kind == "case":
                    seed = int(rest)
                    outcome.cases += 1
                elif kind == "done":
                    outcome.counts += Counter(json.loads(rest))
                elif kind == "finding":
                    finding = json.loads(rest)
        except TimeoutError:
            finding = ["hang", f"nothing for {PATIENCE} seconds"]
            process.kill()
        finally:
            _end(process)
        if finding is None and process.returncode:
            hangs = process.returncode == -signal.SIGALRM  # a part sets its own limit
            finding = ["hang" if hangs else "crash", _cause(process.returncode)]
        if finding is None:
            return seed, None
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - 8000))
        return seed, Found(part, seed, *finding, errors.read().decode(errors="replace"))


def _end(process):
    """Wait for a process that has closed its output, and kill what is left of it and of all that it started."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=30)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _cause(status):
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def _lines(pipe):
    """The lines of a pipe; TimeoutError when none comes."""
    rest = b""
    with pipe:
        while select.select([pipe], [], [], PATIENCE)[0]:
            read = os.read(pipe.fileno(), 65536)
            if not read:
                return
            *lines, rest = (rest + read).split(b"\n")
            yield from (line.decode() for line in lines)
    raise TimeoutError
