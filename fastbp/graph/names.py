"""Names for all nodes of a graph, and values as short texts, for tables and pictures."""

from collections.abc import Iterable

import numpy as np

from fastbp._checks import Array
from fastbp.graph.node import Node, Part, Source

_SHOWN = 6  # elements of an array up to which they are shown


def names(sources: Iterable[Source]) -> dict[Source, str]:
    """A name for each: the one that the user gave, or the kind of the operation with a number; no two are equal."""
    given = list(sources)
    taken = {source.name for source in given}
    found: dict[Source, str] = {}
    used: set[str] = set()
    counts: dict[str, int] = {}
    for source in given:
        if isinstance(source, Part) and not source.name:
            found[source] = f"{found[source.inputs[0]]}[{source.index}]"
            continue
        name = source.name
        if not name or name in used:
            kind = name or _kind(source)
            name = ""
            while not name or name in taken:
                counts[kind] = counts.get(kind, 0) + 1
                name = f"{kind}_{counts[kind]}"
        found[source] = name
        used.add(name)
    return found


def _kind(source: Source) -> str:
    if isinstance(source, Node):
        return source.op.kind
    return "variable" if source.is_differentiable else "constant"


def short(value: Array | None) -> str:
    """An array in a few letters: its elements if they are few, else its shape and dtype."""
    if value is None:
        return ""
    if value.ndim == 0:
        return f"{value[()]:.6g}" if value.dtype.kind == "f" else str(value[()])
    if value.size <= _SHOWN:
        text = np.array2string(value, separator=", ", max_line_width=10**6, formatter={"float_kind": "{:.6g}".format})
        return text.replace("\n", "")
    return f"{value.dtype} {' x '.join(map(str, value.shape))}"
