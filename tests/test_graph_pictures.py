"""The trace and the pictures of a graph."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from fastbp import graph
from fastbp.graph import Variable, picture


def shopping():
    price, count, tax = Variable(100.0, "price"), Variable(2.0, "count"), Variable(1.1, "tax")
    total = price * count * tax
    total.name = "total"
    return total


def test_trace():
    trace = graph.trace(shopping())
    lines = str(trace).splitlines()
    assert lines[0].split() == ["order", "name", "operation", "inputs", "output", "gradient"]
    assert [re.split(r"  +", line.strip()) for line in lines[2:]] == [
        ["0", "price", "100", "2.2"],
        ["1", "count", "2", "110"],
        ["2", "multiply_1", "multiply", "price, count", "200", "1.1"],
        ["3", "tax", "1.1", "200"],
        ["4", "total", "multiply", "multiply_1, tax", "220", "1"],
    ]
    assert trace[2].inputs == ("price", "count")
    assert float(trace[2].gradient) == 1.1


def test_trace_of_arrays_and_of_several_outputs():
    x = Variable(np.arange(12, dtype=np.float32).reshape(3, 4), "x")
    largest, place = graph.max_with_index(x, axis=1)
    y = largest * 2 + place
    assert all(row.gradient is None for row in graph.trace(y))
    text = str(graph.trace(y, np.ones(3)))
    assert "float32 3 x 4" in text
    assert "max_1[0]" in text
    assert "[3, 3, 3]" in text
    row = next(row for row in graph.trace(y, np.ones(3)) if row.name == "max_1[1]")
    assert row.gradient is None
    assert row.inputs == ("x",)


def test_names_are_not_given_twice():
    x, other = Variable(1.0, "add_1"), Variable(2.0, "add_1")
    y = x + other + x
    made = [row.name for row in graph.trace(y)]
    assert len(set(made)) == len(made) == 4
    assert made[0] == "add_1"


def test_mermaid():
    assert str(graph.to_mermaid(shopping())).splitlines() == [
        "flowchart LR",
        '    n0["price"]',
        '    n1["count"]',
        '    n2["tax"]',
        '    result["total"]',
        '    n3(("×"))',
        '    n4(("×"))',
        '    n0 -->|"100<br/>∂ 2.2"| n3',
        '    n1 -->|"2<br/>∂ 110"| n3',
        '    n3 -->|"200<br/>∂ 1.1"| n4',
        '    n2 -->|"1.1<br/>∂ 200"| n4',
        '    n4 -->|"220<br/>∂ 1"| result',
    ]


def test_each_edge_has_its_part_of_the_gradient():
    x, y = Variable(2.0, "x"), Variable(3.0, "y")
    z = (x + y) ** 2 + x
    text = str(graph.to_mermaid(z))
    assert re.findall(r'n0 -->\|"(.*?)"\|', text) == ["2<br/>∂ 10", "2<br/>∂ 1"]


def test_without_bias():
    """The backward pass of an affine map or a convolution has a gradient by the bias, which may be no input."""
    x, w = Variable([[1.0, 2.0]], "x"), Variable([[3.0, 4.0]], "w")
    assert 'n0 -->|"[[1, 2]]<br/>∂ [[3, 4]]"| n2' in graph.to_mermaid(graph.sum(graph.affine(x, w)))
    images = graph.conv(graph.reshape(x, (1, 1, 2)), [[[5.0]]])
    assert 'n0 -->|"[[1, 2]]<br/>∂ [[5, 5]]"| n2' in graph.to_mermaid(graph.sum(images))


def test_no_gradients_without_something_to_start_from():
    x = Variable([1.0, 2.0], "x")
    assert "∂" not in graph.to_mermaid(x * 2)
    assert "∂ [2, 2]" in graph.to_mermaid(x * 2, [1.0, 1.0])
    assert "font" not in graph.to_dot(x * 2)
    assert "∂" not in graph.to_mermaid(Variable([1, 2]) + 1)


@pytest.mark.parametrize("name", ['a "quoted" <name> & more', "back\\slash\nline", "#35; {x} | y"])
def test_names_with_signs_of_the_languages(name):
    y = Variable(1.0, name) * 2
    dot, mermaid = graph.to_dot(y), graph.to_mermaid(y)
    assert '"quoted"' not in mermaid
    assert "<name>" not in mermaid
    (label,) = re.findall(r"n0 \[label=\"(.*)\", shape=box", dot)
    assert re.sub(r"\\(.)", r"\1", label) == name.replace("\n", " ")
    assert not re.search(r'[<>"&\\]', re.search(r'n0\["(.*)"\]$', mermaid, re.MULTILINE)[1])


def test_a_network_is_one_node_and_a_leaf_is_a_picture():
    import fastbp as fb

    net = fb.Sequential(fb.Affine(2), fb.ReLU(), input_shape=3, seed=0)
    y = graph.sum(graph.apply(net, Variable(np.ones((1, 3)), "x")))
    text = graph.to_dot(y)
    assert 'label="sequential"' in text
    assert 'label="affine_1.w"' in text
    leaf = graph.to_mermaid(Variable(3.0, "x"))
    assert 'n0 -->|"3<br/>∂ 1"| result' in leaf
    assert len(graph.trace(Variable(3.0, "x"))) == 1


def test_a_notebook_gets_a_picture_where_graphviz_is_there(monkeypatch, tmp_path):
    dot, mermaid = graph.to_dot(shopping()), graph.to_mermaid(shopping())
    assert mermaid._repr_mimebundle_()["text/vnd.mermaid"] == str(mermaid)
    monkeypatch.setattr(picture.shutil, "which", lambda name: None)
    assert dot._repr_svg_() is None
    assert dot._repr_mimebundle_() == {"text/plain": str(dot)}
    program = tmp_path / "dot"
    program.write_text('#!/bin/sh\necho "<svg>$1 $(grep -c label)</svg>"\n')
    program.chmod(0o755)
    monkeypatch.setattr(picture.shutil, "which", lambda name: str(program))
    assert dot._repr_svg_() == f"<svg>-Tsvg {dot.count('[label')}</svg>\n"
    assert "image/svg+xml" in dot._repr_mimebundle_()
    program.write_text("#!/bin/sh\nexit 1\n")
    assert dot._repr_svg_() is None


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_the_picture():
    x = Variable(np.ones((2, 2)), 'a "quoted" <name> & more\\')
    dot = graph.to_dot(graph.sum(graph.relu(x @ x) * 2))
    drawn = subprocess.run(["dot", "-Tplain"], input=dot, capture_output=True, encoding="utf-8", check=True)
    assert drawn.stdout.count("\nedge") == dot.count("->")
    assert not drawn.stderr
    assert "<svg" in dot._repr_svg_()
