"""The README's examples run, and its commands name what exists."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_python_examples_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(block, names)
    accuracy = float(capsys.readouterr().out.splitlines()[0])
    assert accuracy > 0.95
    assert (tmp_path / "digits.npz").exists()
    np.testing.assert_array_equal(names["y"], [[11.0, 0.0]])
    np.testing.assert_array_equal(names["dw"], [[2.0, 3.0, 1.0], [0.0, 0.0, 0.0]])


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README.read_text()))
def test_links_lead_to_files(link):
    assert (README.parent / link).exists()


def test_the_command_line_examples_parse():
    from fastbp.cli import _parser

    for line in "\n".join(blocks("sh")).splitlines():
        if line.startswith("fastbp "):
            assert _parser().parse_args(line.split()[1:]).command


def test_the_extras_that_are_named_exist():
    root = README.parent
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for path in (README, root / "CONTRIBUTING.md", root / "benchmarks" / "compare.py", root / ".ci" / "run"):
        for names in re.findall(r"\.\[([a-z,]+)\]", path.read_text()):
            assert set(names.split(",")) <= set(extras), path


def test_the_picture_is_that_of_the_example():
    names: dict[str, object] = {}
    (block,) = [block for block in blocks("python") if "to_mermaid" in block]
    exec(block, names)
    assert blocks("mermaid") == [f"{names['picture']}\n"]


def test_the_comparison_is_filled_in():
    assert re.search(r"\| 64-100-10, 32 \| 1 \|", README.read_text())
