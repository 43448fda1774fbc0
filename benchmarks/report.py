"""One report of what backpropagation costs here: tables, and a page with plots.

    pip install --editable ".[bench]"
    python benchmarks/report.py                     # under five minutes; report/index.html and report/report.md
    python benchmarks/report.py --parts cost roofline --out /tmp/report
    python benchmarks/report.py --full --readme     # twenty minutes; the tables go into README.md, too

Every part is one of the scripts beside this one, on a reduced set unless --full is given; they say what they measure
and how. A part that fails is shown as failed, and the others are made. Interrupted, the report holds what was there.
Without matplotlib there are tables only.
"""

import argparse
import fcntl
import html
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import plots

from fastbp.kernels import _cpu

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
REDUCED = "--rounds", "2", "--seconds", "0.1"
ONCE = "--rounds", "1", "--seconds", "0.2"  # where many processes start
FULL = "--rounds", "2", "--seconds", "0.3"
NETWORKS = "64-100-10", "784-512-512-10", "CNN A"
# torch.compile takes half a minute for each network and number of threads
LIBRARIES = "fastbp", "numpy", "torch", "torch channels last", "jax", "sklearn"
WORK = "product 1024 x 1024 x 1024", "784-50-10", "784-512-512-10", "CNN A"
LAYERS = "3-32 3x3 on 32x32", "64-64 3x3 on 16x16", "1-30 5x5 on 28x28", "64-128 1x1 on 16x16", "16-32 9 on 1000"
PRODUCTS = "square 64", "square 256", "square 1024", "forward 100,784,50", "dw 100,784,50", "dx 100,784,50"


class Part(NamedTuple):
    """A script, its options, and the function that draws its results, if one does.

    ``reduced`` and ``full`` are the options for the two sets; None where a part is not in the reduced one.
    """

    title: str
    text: str
    script: str
    reduced: tuple[str, ...]
    full: tuple[str, ...]
    draw: object = None

    def command(self, full):
        """Name of the script, and its options."""
        return self.script, *(self.full if full or self.reduced is None else self.reduced)


PARTS = {
    "cost": Part(
        "The cost of backpropagation is O(w)",
        "w weight matrices take w products forward and 2 w - 1 backward; time follows the multiply-adds. The slope of "
        "the lines is the exponent.",
        *("cost.py", REDUCED, FULL, plots.cost),
    ),
    "memory": Part(
        "Memory is O(N n)",
        "The rise of the peak of a process over samples times hidden units, and the prediction of net.cost.",
        *("memory.py", ("--grow",), ("--grow",), plots.memory),
    ),
    "footprint": Part(
        "Memory beside PyTorch",
        "By how much a network and three steps raise the peak of a process, on one thread.",
        *("memory.py", (), ()),
    ),
    "threads": Part(
        "Threads",
        "Speed-up of the same work (strong scaling), and efficiency with t times the work (weak scaling).",
        *("threads.py", (*ONCE, "--work", *WORK), FULL, plots.threads),
    ),
    "roofline": Part(
        "Roofline",
        "What each kernel reaches, beside what the processor can do: multiply-adds in registers, bytes from memory. "
        "Above the roof are kernels that make fewer operations than the plain sums, which are counted.",
        *("roofline.py", ONCE, FULL, plots.roofline),
    ),
    "steps": Part(
        "Training steps beside other libraries",
        "Time of a step in microseconds; the ratio is the time of the fastest other library over that of fastbp. The "
        "reduced set leaves out torch.compile, for the time it takes to compile, and three of the networks.",
        "compare.py",
        (*ONCE, "--networks", *NETWORKS, "--libraries", *LIBRARIES),
        ("--rounds", "2", "--seconds", "1"),
        plots.steps,
    ),
    "products": Part(
        "Matrix products beside other libraries",
        "Time in microseconds, of square products and of those of a layer: forward, dw and dx for N, I, O.",
        *("products.py", (*REDUCED, "--products", *PRODUCTS), FULL, plots.beside),
    ),
    "layers": Part(
        "Convolutions and a maximum pool beside PyTorch",
        "Time in microseconds, forward + backward, on batches of 32.",
        *("convolutions.py", (*REDUCED, "--layers", *LAYERS), ("--rounds", "3", "--seconds", "0.3"), plots.beside),
    ),
    "calls": Part(
        "Calls",
        "What a call costs besides its work, in microseconds, on arrays of a few numbers.",
        *("calls.py", (), ()),
    ),
    "latency": Part(
        "Latency",
        "How long each kernel takes to compile with an empty cache, and how long a first epoch and a first step take.",
        *("latency.py", None, ()),
    ),
    "accuracy": Part(
        "Accuracy over time",
        "Test accuracy on the embedded digits after some time of training steps.",
        *("accuracy.py", (), (), plots.accuracy),
    ),
}


def machine():
    """One line about what the report was measured on."""
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    versions = []
    for package in ("fastbp", "numba", "numpy", "torch", "jax", "scikit-learn"):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{package} missing")
    name = f"{names[0] if names else platform.processor()} ({_cpu.NAME}, vectors of {8 * _cpu.VECTOR_BYTES} bits)"
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty= with uncommitted changes"],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    versions[0] += f" ({git.stdout.strip()})" if git.stdout else ""
    return f"{len(os.sched_getaffinity(0))} CPUs of {name}; Python {platform.python_version()}, {', '.join(versions)}"


def run(script, *options):
    """What a script says besides its results, the results as tables, and as an object; or why there are none."""
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder, "result.json")
        command = [sys.executable, str(HERE / script), *options, "--save", str(saved)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
            return f"failed: {lines[-1]}\n\n", "", None
        said = f"{result.stderr}\n" if result.stderr else ""
        return said, result.stdout, json.loads(saved.read_text() or "null")


def drawing(part, result):
    """The plot of a part as SVG; empty without matplotlib or results."""
    if part.draw is None or result is None or importlib.util.find_spec("matplotlib") is None:
        return ""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    part.draw(axes, result)
    svg = io.StringIO()
    figure.savefig(svg, format="svg")
    pyplot.close(figure)
    return svg.getvalue()[svg.getvalue().index("<svg") :]


def to_html(markdown):
    """Tables and lines of text as HTML."""
    out, in_table = [], False
    for line in markdown.splitlines():
        if line.startswith("|"):
            cells = [html.escape(cell.strip()) for cell in line.strip("|").split(" | ")]
            if set(line) <= set("|- "):
                continue
            tag = "td" if in_table else "th"
            out.append(
                ("" if in_table else "<table>") + f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in cells)}</tr>"
            )
            in_table = True
            continue
        if in_table:
            out.append("</table>")
            in_table = False
        if line.strip():
            out.append(f"<p>{html.escape(line)}</p>")
    return "\n".join([*out, "</table>" if in_table else ""])


STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; }
code { background: #f4f4f4; padding: .1rem .3rem; }
"""


def write(folder, head, sections, left=()):
    """The report as Markdown and as a page of its own; ``left``: the titles of parts that are not in it yet."""
    notes = [head, f"Not measured, or not yet: {', '.join(left)}."] if left else [head]
    text, body = ["# What backpropagation costs", *notes, ""], []
    for part, command, markdown, svg in sections:
        line = "python benchmarks/" + " ".join(f'"{word}"' if " " in word else word for word in command)
        text.append(f"## {part.title}\n\n{part.text}\n\n`{line}`\n\n{markdown}")
        body.append(f"<h2>{html.escape(part.title)}</h2><p>{html.escape(part.text)}</p>{svg}\n{to_html(markdown)}")
        body.append(f"<p><code>{html.escape(line)}</code></p>")
    page = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>What backpropagation costs</title>',
        f"<style>{STYLE}</style></head><body><h1>What backpropagation costs</h1>",
        *(f"<p>{html.escape(note)}</p>" for note in notes),
        *body,
        "</body></html>",
    ]
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("report.md", "\n\n".join(text)), ("index.html", "\n".join(page))):
        temporary = folder / f"{name}.{os.getpid()}.part"
        temporary.write_text(content)
        temporary.replace(folder / name)


def insert(text, name, content):
    """``text`` with ``content`` between the lines ``<!-- report: name -->`` and ``<!-- end -->``, if it has them."""
    start, end = f"<!-- report: {name} -->\n", "<!-- end -->"
    before, found, rest = text.partition(start)
    _, ended, behind = rest.partition(end)
    if found and not ended:
        raise ValueError(f"nothing ends what {start.strip()} starts")
    return f"{before}{start}\n{content.strip()}\n\n{end}{behind}" if found else text


@contextmanager
def alone():
    """Refuse to go on beside another report from this checkout."""
    with Path(__file__).open() as source:
        try:
            fcntl.flock(source, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("another report is being made from here: both would be slower; wait until it is done")
        yield


def make(names, folder, full):
    """Run the parts of these names and write the report after each; {name: table}, None for those that failed."""
    head, sections = machine(), []
    sys.stdout.write(f"{head}\n\n")
    titles, tables = [PARTS[name].title for name in names], {"machine": head}
    write(folder, head, sections, titles)
    for done, name in enumerate(names, 1):
        part, command = PARTS[name], PARTS[name].command(full)
        said, markdown, result = run(*command)
        sys.stdout.write(f"## {part.title}\n\n{said}{markdown}\n")
        sys.stdout.flush()
        sections.append((part, command, said + markdown, drawing(part, result)))
        write(folder, head, sections, titles[done:])
        tables[name] = markdown or None
    return tables


def warn():
    """A line for everything here that changes what is measured, or shown."""
    lines = []
    if importlib.util.find_spec("matplotlib") is None:
        lines.append("matplotlib is not installed: tables, no plots")
    if platform.machine() == "x86_64" and "avx" not in _cpu.FEATURES:
        lines.append(f"no AVX here: vectors of {8 * _cpu.VECTOR_BYTES} bits, and other libraries may use others")
    if len(os.sched_getaffinity(0)) == 1:
        lines.append("one CPU: nothing is measured on several")
    if os.getloadavg()[0] > len(os.sched_getaffinity(0)) / 2:
        lines.append(f"this machine is busy, load {os.getloadavg()[0]:.1f}: times may be too long")
    if Path(_cpu.__file__).resolve().parent != HERE.parent / "kernels":
        lines.append(f"measured is the fastbp that is installed, {Path(_cpu.__file__).parents[1]}, not this checkout")
    sys.stderr.write("".join(f"{line}\n" for line in lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), help="all there are, in the reduced set but latency")
    parser.add_argument("--full", action="store_true", help="all networks and products, longer: twenty minutes")
    parser.add_argument("--readme", action="store_true", help="write the tables into README.md, too")
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder to write to")
    arguments = parser.parse_args()
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=arguments.out).close()
    except OSError as error:
        parser.error(f"{arguments.out} cannot be written: {error.strerror}")
    names = arguments.parts or [name for name, part in PARTS.items() if arguments.full or part.reduced is not None]
    warn()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    start = time.monotonic()
    with alone():
        try:
            tables = make(names, arguments.out, arguments.full)
        except KeyboardInterrupt:
            sys.stderr.write(f"\ninterrupted; {arguments.out} holds what was there\n")
            sys.exit(130)
    if arguments.readme:
        text = README.read_text()
        for name, table in tables.items():
            text = insert(text, name, table) if table else text
        README.write_text(text)
    sys.stdout.write(f"{time.monotonic() - start:.0f} s; {arguments.out / 'index.html'}\n")
    failed = [name for name, table in tables.items() if table is None]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
