"""Pictures of graphs as the books draw them: on every edge the value forward, and below it the gradient backward."""

import html
import re
import shutil
import subprocess
from typing import Any

import numpy.typing as npt

from fastbp._checks import Array
from fastbp.graph.names import names, short
from fastbp.graph.node import Leaf, Node, Part, Source
from fastbp.graph.replay import Replay
from fastbp.graph.trace import replayed
from fastbp.graph.variable import Variable

_SIGNS = {
    **{"add": "+", "subtract": "−", "multiply": "×", "divide": "÷", "negative": "−", "power": "^", "matmul": "@"},
    **{"less": "<", "less_equal": "≤", "greater": ">", "greater_equal": "≥", "equal": "=", "not_equal": "≠"},
}
_SECONDS = 20


class Dot(str):
    """A picture in Graphviz's language. Notebooks show it as one where Graphviz's program ``dot`` is installed."""

    __slots__ = ()

    def _repr_svg_(self) -> str | None:
        program = shutil.which("dot")
        if program is None:
            return None
        try:
            drawn = subprocess.run(
                [program, "-Tsvg"], input=self, capture_output=True, encoding="utf-8", timeout=_SECONDS, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return drawn.stdout

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        drawn = self._repr_svg_()
        return {"text/plain": str(self)} | ({} if drawn is None else {"image/svg+xml": drawn})


class Mermaid(str):
    """A picture in Mermaid's language, which GitHub, GitLab and JupyterLab show as one."""

    __slots__ = ()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": str(self), "text/vnd.mermaid": str(self)}


class _Drawing:
    """Boxes for leaves and the result, circles for operations, and the edges between them."""

    def __init__(self, y: Variable, gradient: npt.ArrayLike | None, name: str) -> None:
        self.replay: Replay = replayed(y, gradient, name)
        called = names(self.replay.every())
        self.boxes: list[tuple[str, str]] = []
        self.circles: list[tuple[str, str]] = []
        self.edges: list[tuple[str, str, str, str]] = []
        self._keys: dict[Source, str] = {}
        for i, source in enumerate(called):
            if isinstance(source, Part):
                self._keys[source] = self._keys[source.inputs[0]]
                continue
            key = self._keys[source] = f"n{i}"
            if isinstance(source, Node):
                self.circles.append((key, self._label(source)))
            else:
                is_nameless = isinstance(source, Leaf) and not source.name and not source.is_differentiable
                self.boxes.append((key, "constant" if is_nameless else called[source]))
        for source in called:
            if isinstance(source, Node):
                gradients = self.replay.contributions(source) if self.replay.gradients else (None,) * len(source.inputs)
                for x, gradient_by_x in zip(source.inputs, gradients, strict=True):
                    self._connect(x, self._keys[source], gradient_by_x)
        self.boxes.append(("result", self.replay.root.name or "result"))
        self._connect(self.replay.root, "result", None if not self.replay.gradients else y.seed(gradient))

    def _label(self, node: Node) -> str:
        sign = _SIGNS.get(node.op.kind, node.op.kind)
        return f"{sign} {node.name}" if node.name and node is not self.replay.root else sign

    def _connect(self, x: Source, key: str, gradient: Array | None) -> None:
        self.edges.append((self._keys[x], key, short(self.replay.values[x]), short(gradient)))


def to_dot(y: Variable, gradient: npt.ArrayLike | None = None) -> Dot:
    """The graph of y as a picture in Graphviz's language, with values and, in red, gradients on the edges.

    Where a value is used several times, each edge shows its part of the gradient. The graph is run forward and backward
    beside itself; functions of the user's are called again.

    Parameters
    ----------
    y : Variable
    gradient : array of the shape of y, optional
        As for `Variable.backward`; without it, gradients are shown if y is a single number.

    Returns
    -------
    Dot
        A str; save it, or look at it in a notebook.

    Examples
    --------
    >>> from fastbp import graph
    >>> x = graph.Variable(3.0, "x")
    >>> print(graph.to_dot(x * 2))
    digraph {
        rankdir=LR;
        n0 [label="x", shape=box];
        n1 [label="constant", shape=box];
        result [label="result", shape=box];
        n2 [label="×", shape=circle];
        n0 -> n2 [label=<3<br/><font color="#b03030">2</font>>];
        n1 -> n2 [label=<2>];
        n2 -> result [label=<6<br/><font color="#b03030">1</font>>];
    }
    """
    drawing = _Drawing(y, gradient, "to_dot")
    lines = ["digraph {", "    rankdir=LR;"]
    lines += [f"    {key} [label={_quoted(label)}, shape=box];" for key, label in drawing.boxes]
    for key, label in drawing.circles:
        lines.append(f"    {key} [label={_quoted(label)}, shape={'circle' if _is_sign(label) else 'ellipse'}];")
    for x, key, value, by_value in drawing.edges:
        red = f'<br/><font color="#b03030">{html.escape(by_value)}</font>' if by_value else ""
        lines.append(f"    {x} -> {key} [label=<{html.escape(value)}{red}>];")
    return Dot("\n".join([*lines, "}"]))


def _is_sign(label: str) -> bool:
    """Whether it fits into a circle; longer names get an ellipse."""
    return len(label) == 1


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'


def to_mermaid(y: Variable, gradient: npt.ArrayLike | None = None) -> Mermaid:
    """The graph of y as a picture in Mermaid's language, with values and, below them, gradients on the edges.

    As `to_dot`; in a README between lines of three backticks, the first one with ``mermaid``, GitHub draws it.

    Examples
    --------
    >>> from fastbp import graph
    >>> x = graph.Variable(3.0, "x")
    >>> print(graph.to_mermaid(x * 2))
    flowchart LR
        n0["x"]
        n1["constant"]
        result["result"]
        n2(("×"))
        n0 -->|"3<br/>∂ 2"| n2
        n1 -->|"2"| n2
        n2 -->|"6<br/>∂ 1"| result
    """
    drawing = _Drawing(y, gradient, "to_mermaid")
    lines = ["flowchart LR"]
    lines += [f'    {key}["{_escaped(label)}"]' for key, label in drawing.boxes]
    for key, label in drawing.circles:
        left, right = ("((", "))") if _is_sign(label) else ("([", "])")
        lines.append(f'    {key}{left}"{_escaped(label)}"{right}')
    for x, key, value, by_value in drawing.edges:
        below = f"<br/>∂ {_escaped(by_value)}" if by_value else ""
        lines.append(f'    {x} -->|"{_escaped(value)}{below}"| {key}')
    return Mermaid("\n".join(lines))


def _escaped(text: str) -> str:
    """What Mermaid would read as its own, as codes of characters."""
    return re.sub(r'["#<>&`\n\\]', lambda match: f"#{ord(match[0])};", text)
