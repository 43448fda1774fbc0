"""Calls of functions that must work, with the arrays that their arguments stand for."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fuzz.arrays import disguised, normal, pick


@dataclass
class Call:
    """A call that must work: its arguments, and what its results must be: (value, bound) each."""

    arguments: list
    expected: Any  # function of the dtype's eps that gives [(value, bound)]
    numbers: dict = field(default_factory=dict)
    exact: list = field(default_factory=list)  # the arrays that the arguments stand for


def arrays(rng, *shapes, of=normal):
    """Arguments of these shapes in disguise, and the arrays that they are."""
    dtype = pick(rng, np.float32, np.float64)
    given, exact = zip(*(disguised(rng, of(rng, shape, dtype)) for shape in shapes), strict=True)
    return list(given), list(exact)
