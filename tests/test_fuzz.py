"""The fuzz program: a moment of each of its parts finds nothing, and what a part finds is reported, whatever it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import child, main

FUZZ = Path(__file__).parent / "fuzz"
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signals, limits and mprotect of Linux")


@linux_only
@pytest.mark.parametrize("part", main.PARTS)
def test_a_moment_of_each_part(part):
    command = [sys.executable, str(FUZZ), "--parts", part, "--minutes", "0.02", "--seed", "0"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1].split()[:3:2] == [part, "none"]


PART = """
import os, signal, threading
from fuzz.finding import Finding

def case(rng):
    if number := case.count:
        ENDS
    case.count += 1
    return "good"

case.count = 0
"""
ENDS = {
    "crash": "os.kill(os.getpid(), signal.SIGSEGV)",
    "hang": "threading.Event().wait()",
    "exception": "[][number]",
    "wrong result": 'raise Finding("wrong result", "1 is not 2")',
    "memory": 'raise Finding("memory", "1 GB")',
}


@linux_only
@pytest.mark.parametrize("kind", list(ENDS))
def test_what_a_part_finds(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(child, "PATIENCE", 5)
    (tmp_path / "part.py").write_text(PART.replace("ENDS", ENDS[kind]))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    outcome = child.run("part", 10, 0, environment)
    assert (outcome.cases, outcome.counts) == (1, {"good": 1})
    outcome = child.run("part", 10, 0, environment, cases=2)
    assert (outcome.cases, outcome.counts) == (2, {"good": 1})
    (found,) = outcome.findings
    assert (found.part, found.seed, found.kind) == ("part", 11, kind)


def test_older_processors():
    features = main.environment("avx2")["NUMBA_CPU_FEATURES"]
    assert "avx512" not in features
    assert main.environment("baseline")["NUMBA_CPU_FEATURES"] == "+sse,+sse2"


def test_table_and_command(capsys):
    found = child.Found("fuzz.parts.graphs", 7, "crash", "SIGSEGV", "")
    main.report(found, "avx2")
    assert capsys.readouterr().out.splitlines() == [
        "graphs: crash: SIGSEGV",
        "    python tests/fuzz --parts graphs --case 7 --cpu avx2",
    ]
    rows = main.table({"graphs": child.Outcome(3, child.Counter(right=2), [found]), "files": child.Outcome()})
    assert [row.split() for row in rows[1:]] == [["graphs", "3", "1", "crash", "right", "2"], ["files", "0", "none"]]
