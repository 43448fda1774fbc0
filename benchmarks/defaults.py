"""Test accuracy of ``fastbp train`` without options, on data of many kinds.

    python benchmarks/defaults.py                              # the embedded digits, and four sets of scikit-learn
    python benchmarks/defaults.py FOLDER ... [--cnn]           # and every set in these folders

A folder holds .npz files of arrays x and y (class indices), or IDX files train-images* and train-labels*, to which it
gives its name. Sets that `fastbp train` does not take, those with missing values or targets of a regression, are left
out. With ``--cnn`` convolutional networks are trained on the images, too: 5 epochs, which takes minutes for a set like
Fashion-MNIST. Exit status 1 if an accuracy is below the floor of its set.
"""

import argparse
import contextlib
import importlib.util
import io
import re
import sys
import tempfile
from pathlib import Path

import numpy as np

import fastbp as fb
from fastbp import cli

# per cent of the test samples; "digits" are those of scikit-learn, with pixels from 0 to 16
FLOORS = {
    "embedded digits": 97,
    "embedded digits, cnn": 98,
    "digits": 97,
    "iris": 93,
    "wine": 93,
    "breast_cancer": 95,
    "wdbc": 95,
    "satellite": 88,
    "vehicle": 75,
    "fashion-mnist": 87,
    "fashion-mnist, cnn": 90,
}
SKLEARN = "iris", "wine", "breast_cancer", "digits"


def is_taken(path):
    """Whether the .npz file holds a classification without missing values."""
    x, y = fb.datasets.read([path])
    return y.dtype.kind in "iu" and bool(np.isfinite(x).all())


def of_sklearn(folder):
    """The small sets of scikit-learn as files in ``folder``."""
    if importlib.util.find_spec("sklearn") is None:
        sys.stderr.write("scikit-learn is not installed: its sets are left out\n")
        return {}
    from sklearn import datasets

    for name in SKLEARN:
        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        np.savez(folder / f"{name}.npz", x=x, y=y)
    return {name: [folder / f"{name}.npz"] for name in SKLEARN}


def of_folder(folder):
    """Files of the sets in ``folder``, by name."""
    idx = [*sorted(folder.glob("train-images*")), *sorted(folder.glob("train-labels*"))]
    if len(idx) == 2:
        return {folder.name: idx}
    return {path.stem: [path] for path in sorted(folder.glob("*.npz")) if is_taken(path)}


def accuracy(*arguments):
    """What `fastbp train` prints as its test accuracy, in per cent; nan where the run fails."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        cli.main(["train", *map(str, arguments)])
    found = re.search(r"^test accuracy ([\d.]+) %$", out.getvalue(), re.MULTILINE)
    return float(found[1]) if found else float("nan")


def runs(sets, cnn):
    """Arguments of `fastbp train` by the name of the run; ``sets`` are files by name, none for the embedded digits."""
    for name, files in sets.items():
        data = ["--data", *files] if files else []
        yield name, data
        if cnn and len(files) != 1:  # images
            yield f"{name}, cnn", [*data, "--model", "cnn", *(["--epochs", 5] if files else [])]


def folder(text):
    """Type of an argument: a folder."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return Path(text).resolve()


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=folder, metavar="FOLDER")
    parser.add_argument("--cnn", action="store_true", help="convolutional networks for images, too")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these sets only")
    arguments = parser.parse_args(argv)
    missed = []
    out = sys.stdout.write
    with tempfile.TemporaryDirectory() as work:
        sets = {"embedded digits": [], **of_sklearn(Path(work))}
        for place in arguments.folders:
            sets |= {name: files for name, files in of_folder(place).items() if name not in sets}
        sets = {name: files for name, files in sets.items() if arguments.only is None or name in arguments.only}
        out(f"| test accuracy, % | floor | {' | '.join(f'seed {seed}' for seed in arguments.seeds)} |\n")
        out(f"|{' --- |' * (2 + len(arguments.seeds))}\n")
        for name, options in runs(sets, arguments.cnn):
            results = [accuracy(*options, "--seed", seed) for seed in arguments.seeds]
            floor = FLOORS.get(name)
            if floor is not None and not all(result >= floor for result in results):
                missed.append(name)
            out(f"| {name} | {floor or '-'} | {' | '.join(f'{result:.2f}' for result in results)} |\n")
            sys.stdout.flush()
    if missed:
        sys.stderr.write(f"below the floor: {'; '.join(missed)}\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
