"""The manual's tables are those of the sources, its links lead to files, and its examples run."""

import re
from pathlib import Path

import pytest

from fastbp import losses, ops
from fastbp.graph import Op

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def undefined_rows():
    """Every operation with points where its derivative does not exist."""

    def below(kind):
        for one in kind.__subclasses__():
            yield one
            yield from below(one)

    found = {op.kind: op.undefined for op in below(Op) if op.__module__.startswith("fastbp.ops") and op.undefined}
    return [f"| {kind} | {rule} |" for kind, rule in sorted(found.items())]


def test_the_table_of_points_without_derivative():
    text = (DOCS / "graph.md").read_text()
    table = text.partition("<!-- undefined -->")[2].partition("<!-- end -->")[0].strip().splitlines()
    assert table[2:] == undefined_rows()
    assert len(table) > 12
    assert all(not loss.undefined for loss in losses.Loss.__subclasses__())
    assert ops.Clip.undefined


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / link).exists(), link


def test_the_examples_are_all_listed():
    text = (DOCS / "graph.md").read_text()
    assert set(re.findall(r"\(examples/(\w+\.py)\)", text)) == {path.name for path in (DOCS / "examples").glob("*.py")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_examples_run(page, capsys):
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        exec(block, names)
