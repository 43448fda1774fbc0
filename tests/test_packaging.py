"""The sdist, the wheel built from it and editable installs, from a copy of the tracked files.

They depend on ``packages`` and ``package-dir`` alone: a checkout without symlinks, as on Windows, installs as well.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROBE = """
import importlib.util
import fastbp, fastbp.kernels
import numpy as np
out = np.empty((1, 1))
fastbp.kernels.matmul(np.array([[3.0]]), np.array([[2.0]]), out)
x, y = fastbp.datasets.load_digits()
print(fastbp.__file__, fastbp.kernels.__file__, out[0, 0], len(x), importlib.util.find_spec("kernels"), sep="\\n")
"""


def run(*command: object, cwd: Path, **environment: str) -> str:
    """Output of a command; skips where it cannot reach the package index, fails with the output on any other error."""
    result = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if result.returncode and any(sign in result.stdout for sign in ("NewConnectionError", "name resolution")):
        pytest.skip("the package index, from which setuptools comes, cannot be reached")
    assert result.returncode == 0, result.stdout
    return result.stdout


def tracked_files() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("the list of files comes from git, and this is no git checkout")
    names = run("git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", cwd=ROOT).split("\0")
    return [Path(name) for name in names if name]


def copy_checkout(target: Path, *, symlinks: bool) -> Path:
    """The tracked files; without symlinks the link becomes a text file, as git writes it where it cannot make one."""
    for name in tracked_files():
        source, copy = ROOT / name, target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink() and not symlinks:
            copy.write_text(os.readlink(source))
        elif source.is_symlink() or source.exists():  # a deleted file may still be tracked
            shutil.copyfile(source, copy, follow_symlinks=False)
    return target


@pytest.fixture(scope="module", params=["with symlinks", "without symlinks"])
def packages(request, tmp_path_factory):
    """The sdist and the wheel that was built from it, not from the checkout."""
    pytest.importorskip("build", reason="python -m build makes the packages")
    checkout = copy_checkout(tmp_path_factory.mktemp("checkout"), symlinks=request.param == "with symlinks")
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, checkout, cwd=folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def test_the_wheel_holds_the_kernels_the_data_and_the_type_marker(packages):
    with zipfile.ZipFile(packages[1]) as archive:
        names = set(archive.namelist())
    kernels = {f"fastbp/kernels/{path.name}" for path in tracked_files() if path.match("kernels/*.py")}
    assert len(kernels) > 10
    assert kernels | {"fastbp/py.typed", "fastbp/datasets/digits.npz", "fastbp/datasets/README.md"} <= names


def test_the_wheel_installs_no_other_top_level_name(packages):
    with zipfile.ZipFile(packages[1]) as archive:
        top = {name.split("/")[0] for name in archive.namelist()}
    assert sorted(name.split("-")[0] for name in top) == ["fastbp", "fastbp"]  # the package and its dist-info


def test_the_wheel_is_pure_and_small(packages):
    assert packages[1].name.endswith("-py3-none-any.whl")
    assert packages[1].stat().st_size < 350_000


def test_the_wheel_needs_three_packages_to_run(packages):
    with zipfile.ZipFile(packages[1]) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = archive.read(name).decode().splitlines()
    needed = [line.partition(": ")[2] for line in lines if line.startswith("Requires-Dist") and "extra" not in line]
    assert {re.split(r"\W", requirement)[0] for requirement in needed} == {"numpy", "numba", "tqdm"}


def test_the_sdist_holds_the_tests_and_the_kernels_once(packages):
    with tarfile.open(packages[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"kernels/gemm.py", "tests/conftest.py", "LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md"} <= names
    assert not {name for name in names if name.startswith("fastbp/kernels/")}


def test_the_wheel_runs_outside_the_checkout(packages, tmp_path):
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    elsewhere.mkdir()
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--target", target, packages[1], cwd=elsewhere)
    lines = run(sys.executable, "-c", PROBE, cwd=elsewhere, PYTHONPATH=str(target)).splitlines()
    package, kernels, *results = lines
    assert Path(package) == target / "fastbp" / "__init__.py"
    assert Path(kernels) == target / "fastbp" / "kernels" / "__init__.py"
    assert results == ["6.0", "1797", "None"]
    assert not (target / "kernels").exists()
    program = target / "bin" / "fastbp"
    assert run(program, "--version", cwd=elsewhere, PYTHONPATH=str(target)).startswith("fastbp ")


@pytest.mark.parametrize("symlinks", [True, False])
def test_an_editable_install_runs_outside_the_checkout(symlinks, tmp_path):
    """In a virtual environment of its own, which sees the dependencies of this one."""
    checkout = copy_checkout(tmp_path / "checkout", symlinks=symlinks)
    venv, elsewhere = tmp_path / "venv", tmp_path / "elsewhere"
    elsewhere.mkdir()
    run(sys.executable, "-m", "venv", venv, cwd=tmp_path)
    python = venv / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(python, "-m", "pip", "install", "--no-deps", "--editable", checkout, cwd=elsewhere)
    # a folder named in a .pth file brings its packages but not its own .pth files, hence no other editable install
    (site_packages,) = [*venv.glob("lib/python*/site-packages"), *venv.glob("Lib/site-packages")]
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    lines = run(python, "-c", PROBE, cwd=elsewhere, PYTHONPATH="").splitlines()
    assert Path(lines[0]) == checkout / "fastbp" / "__init__.py"
    assert Path(lines[1]).resolve() == (checkout / "kernels" / "__init__.py").resolve()
    assert lines[2:] == ["6.0", "1797", "None"]


def test_the_symlink_is_committed_and_relative():
    assert Path("fastbp/kernels") in tracked_files()
    entry = run("git", "-c", f"safe.directory={ROOT}", "ls-files", "-s", "fastbp/kernels", cwd=ROOT)
    mode, blob = entry.split()[:2]
    assert mode == "120000"
    assert run("git", "-c", f"safe.directory={ROOT}", "cat-file", "blob", blob, cwd=ROOT) == "../kernels"
