"""Dependencies point downwards, the folders are where the design puts them, and the public names are documented.

Imports are read from the sources, those inside functions and under TYPE_CHECKING too.
"""

import ast
import graphlib
import inspect
import itertools
import re
import sys
from functools import cache
from pathlib import Path

import pytest

import fastbp

ROOT = Path(__file__).parents[1]

# Lowest first: a module imports from levels below its own, or from its own package (layers, kernels and so on).
LEVELS = [
    ["fastbp.kernels", "fastbp._version", "fastbp._startup", "fastbp._saving"],
    ["fastbp._checks", "fastbp.info", "fastbp.progress", "fastbp.report"],
    ["fastbp.op", "fastbp.functional", "fastbp.initializers", "fastbp.metrics", "fastbp.datasets"],
    ["fastbp.ops"],
    ["fastbp.layers", "fastbp.losses"],
    ["fastbp.optimizers", "fastbp.serialization", "fastbp._plan", "fastbp.recipes"],
    ["fastbp._step"],
    ["fastbp.model"],
    ["fastbp.graph"],
    ["fastbp.training", "fastbp.gradcheck"],
    ["fastbp"],
    ["fastbp.cli"],
    ["fastbp.__main__"],
]
LEVEL = {name: number for number, names in enumerate(LEVELS) for name in names}
PACKAGES = tuple(f"fastbp.{name}" for name in ("kernels", "layers", "datasets", "functional", "ops", "graph"))
THIRD_PARTY = {"numpy", "numba", "llvmlite", "tqdm"}  # llvmlite is Numba's own backend


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("fastbp", *parts) if parts[0] == "kernels" else parts
    return ".".join(parts).removesuffix(".__init__")


def source_files() -> dict[str, Path]:
    ours = [path for path in (ROOT / "fastbp").rglob("*.py") if path.relative_to(ROOT).parts[1] != "kernels"]
    return {module_name(path): path for path in sorted([*ours, *(ROOT / "kernels").rglob("*.py")])}


FILES = source_files()
KERNELS = {name: path for name, path in FILES.items() if name.startswith("fastbp.kernels")}


@cache
def imports(name: str) -> frozenset[str]:
    """Full names of what a module imports; ``from package import module`` counts as package.module."""
    found = set()
    package = name if FILES[name].name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = {f"{base}.{alias.name}" for alias in node.names}
            found.update((names & FILES.keys()) | ({base} if names - FILES.keys() else set()))
    return frozenset(found)


def own(names: frozenset[str]) -> set[str]:
    return {name for name in names if name.split(".")[0] == "fastbp"}


def place(name: str) -> str:
    """The row of LEVELS that a module stands in: its own, or that of its package."""
    return next((package for package in PACKAGES if name == package or name.startswith(package + ".")), name)


def test_the_table_names_every_module_and_no_other():
    assert {place(name) for name in FILES} == LEVEL.keys()


@pytest.mark.parametrize("name", FILES)
def test_no_module_imports_upwards(name):
    others = [other for other in own(imports(name)) if place(other) != place(name)]
    assert [other for other in others if LEVEL[place(other)] >= LEVEL[place(name)]] == []


def test_no_module_imports_itself_in_a_circle():
    graph = {name: own(imports(name)) - {name} for name in FILES}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(FILES)


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_know_nothing_of_the_rest(name):
    assert {place(other) for other in own(imports(name))} <= {"fastbp.kernels"}


@pytest.mark.parametrize("name", FILES)
def test_imports_from_elsewhere_are_declared(name):
    roots = {other.split(".")[0] for other in imports(name)} - {"fastbp"}
    assert roots - sys.stdlib_module_names <= THIRD_PARTY


def test_the_reader_of_imports_sees_them_all(tmp_path, monkeypatch):
    """Imports within functions, under TYPE_CHECKING and relative ones count."""
    path = tmp_path / "probe.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from fastbp.model import Network\n"
        "def f():\n    from fastbp import cli\n    from . import training\n    import torch.nn\n"
    )
    monkeypatch.setitem(FILES, "fastbp.probe", path)
    assert imports("fastbp.probe") == {"typing", "fastbp.model", "fastbp.cli", "fastbp.training", "torch.nn"}


@pytest.mark.parametrize(
    "path",
    ["README.md", "pyproject.toml", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"]
    + ["fastbp/__init__.py", "fastbp/py.typed", "kernels/__init__.py", "tests/conftest.py"]
    + [f"kernels/{name}.py" for name in ("_jit", "_cpu", "_runtime", "microkernel", "gemm", "affine", "activation")]
    + [f"kernels/{name}.py" for name in ("softmax", "loss", "optim")],
)
def test_the_layout_is_that_of_the_design(path):
    assert (ROOT / path).is_file()


def test_the_kernels_folder_is_reached_through_the_package_too():
    assert Path(fastbp.kernels.__file__).resolve() == (ROOT / "kernels" / "__init__.py").resolve()


@pytest.mark.parametrize("name", KERNELS)
def test_forward_stands_directly_above_backward(name):
    functions = [node.name for node in ast.parse(KERNELS[name].read_text()).body if isinstance(node, ast.FunctionDef)]
    public = [function for function in functions if not function.startswith("_")]
    private = [function for function in functions if function.startswith("_")]
    for names in (public, private):
        for above, below in itertools.pairwise([*names, ""]):
            backward = above.removesuffix("_forward") + "_backward"
            if above.endswith("_forward") and backward in names:
                assert below == backward


def public_names():
    for module in (fastbp, fastbp.functional, fastbp.graph, fastbp.kernels):
        for name, value in vars(module).items():
            ours = getattr(value, "__module__", "") or ""
            if not name.startswith("_") and ours.startswith("fastbp") and callable(value):
                yield pytest.param(value, id=f"{module.__name__}.{name}")


@pytest.mark.parametrize("value", [*public_names()])
def test_every_public_name_has_a_docstring(value):
    assert value.__doc__
    assert inspect.cleandoc(value.__doc__)


@pytest.mark.parametrize("name", FILES)
def test_every_file_says_what_it_holds(name):
    path = FILES[name]
    assert path.name == "_version.py" or ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("name", FILES)
def test_sources_neither_print_nor_leave_work_for_later(name):
    text = FILES[name].read_text()
    calls = [node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    assert not [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text)
