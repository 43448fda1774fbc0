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

from asv.results import Results

HERE = Path(__file__).parent
RESULTS = HERE.parent / ".asv" / "results"


def run(bench):
    """The results of a run of the benchmarks that ``bench`` matches: {(name, parameters): statistics}."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True, check=True)
    options = "--set-commit-hash", commit.stdout.strip(), "-E", f"existing:{sys.executable}", "--bench", bench
    asv = subprocess.run([sys.executable, "-m", "asv", "run", *options], cwd=HERE, check=False)
    if asv.returncode:
        sys.exit(f"asv failed, exit status {asv.returncode}")
    files = RESULTS.glob(f"*/{commit.stdout[:8]}-*.json")
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
    parser.add_argument("--bench", default="time_", metavar="REGEX", help="which benchmarks, as of asv run")
    arguments = parser.parse_args()
    first, second = run(arguments.bench), run(arguments.bench)
    for case in first.keys() & second.keys():
        if not agree(first[case], second[case]):
            intervals = " and ".join(f"{r['ci_99_a']:.3g} to {r['ci_99_b']:.3g} s" for r in (first[case], second[case]))
            sys.stdout.write(f"{' '.join(case)}: {intervals}\n")
    agreed = [agree(first[case], second[case]) for case in first.keys() & second.keys()]
    sys.stdout.write(f"{sum(agreed)} of {len(agreed)} agree\n")


if __name__ == "__main__":
    main()
