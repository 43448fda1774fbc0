"""How many of asv's timings a second run of the same commit confirms.

    python benchmarks/agreement.py                          # all timings twice: half an hour
    python benchmarks/agreement.py --bench "gemm|softmax"

asv gives an interval of 99 % with every time. Two runs agree where their intervals meet, which is what `asv continuous`
and `asv compare` ask before they call a change one. What they measure is kept, as that of any `asv run`.
"""

import argparse
import subprocess
import sys
from itertools import product
from pathlib import Path

try:
    from asv.results import Results
except ModuleNotFoundError:
    sys.exit("asv is not installed: it comes with the extra bench")

HERE = Path(__file__).parent
RESULTS = HERE.parent / ".asv" / "results"


def git(*arguments):
    return subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True, check=True).stdout.strip()


def run(bench, commit):
    """The results of a run of the benchmarks that ``bench`` matches: {(name, parameters): statistics}."""
    options = "--set-commit-hash", commit, "-E", f"existing:{sys.executable}", "--bench", bench
    asv = subprocess.run([sys.executable, "-m", "asv", "run", *options], cwd=HERE, check=False)
    if asv.returncode:
        sys.exit(f"asv failed, exit status {asv.returncode}")
    files = RESULTS.glob(f"*/{commit[:8]}-*.json")
    results = Results.load(str(max(files, key=lambda path: path.stat().st_mtime)))
    found = {}
    for name in results.get_all_result_keys():
        parameters = results.get_result_params(name)
        statistics = results.get_result_stats(name, parameters)
        found |= {(name, *case): value for case, value in zip(product(*parameters), statistics, strict=True) if value}
    return found


def agree(first, second):
    """Whether the intervals of two results meet."""
    return first["ci_99_a"] <= second["ci_99_b"] and second["ci_99_a"] <= first["ci_99_b"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bench", default="time_call", metavar="REGEX", help="which benchmarks, as of asv run")
    arguments = parser.parse_args()
    if git("status", "--porcelain", "--untracked-files=no"):
        sys.exit("there are changes that are not committed: asv would keep their times as those of the commit")
    subprocess.run([sys.executable, "-m", "asv", "machine", "--yes"], cwd=HERE, check=False, capture_output=True)
    first, second = (run(arguments.bench, git("rev-parse", "HEAD")) for _ in range(2))
    for case in first.keys() & second.keys():
        if not agree(first[case], second[case]):
            intervals = " and ".join(f"{r['ci_99_a']:.3g} to {r['ci_99_b']:.3g} s" for r in (first[case], second[case]))
            sys.stdout.write(f"{' '.join(case)}: {intervals}\n")
    agreed = [agree(first[case], second[case]) for case in first.keys() & second.keys()]
    missing = f", {len(first.keys() ^ second.keys())} failed in one of the runs" if first.keys() ^ second.keys() else ""
    sys.stdout.write(f"{sum(agreed)} of {len(agreed)} agree{missing}\n")


if __name__ == "__main__":
    main()
