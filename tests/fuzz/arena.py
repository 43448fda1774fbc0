"""The arrays of one case in odd layouts, flush against pages which may not be touched, and what must stay as it is."""

import numpy as np
import reference
from guard_pages import Guarded, forget_workspace, guard_workspace

from fastbp.kernels import epilogue
from fuzz.arrays import integers, pick
from fuzz.finding import Finding, check_close, check_message, require

PAGES = 1024
PLACES = [Guarded(pages=PAGES) for _ in range(12)]
WORKSPACE = Guarded(pages=16 * PAGES)
guard_workspace(WORKSPACE)
MARGIN = 512  # bytes around an array that must stay as they are
EXACT = ("identity", "relu", "leaky_relu")
SLOPE = 0.5


class Refused(Exception):
    """A kernel wants other arrays, and has said so in one line."""


class Arena:
    """The arrays of one case."""

    def __init__(self, rng):
        self.rng, self.dtype = rng, np.dtype(pick(rng, np.float32, np.float64))
        self._at_end, self._watched = bool(rng.integers(2)), []
        self.label = ""  # what a finding should say
        WORKSPACE.at_end = bool(rng.integers(2))
        forget_workspace()

    def output(self, *shape, dtype=None, plain=False):
        """An array of garbage."""
        return self._place(shape, np.dtype(dtype or self.dtype), plain, True)

    def given(self, x, dtype=None, plain=False):
        """An array that equals x and must not change."""
        place = self._place(x.shape, np.dtype(dtype or self.dtype), plain, False)
        place[...] = x
        self._watched[-1][1][:] = self._watched[-1][0]
        return place

    def integers(self, *shape, plain=False):
        return self.given(integers(self.rng, shape), plain=plain)

    def changing(self, x):
        """An array that equals x, of which every element may change."""
        place = self.output(*x.shape)
        place[...] = x
        return place

    def _place(self, shape, dtype, plain, is_output):
        rng, place = self.rng, PLACES[len(self._watched)]
        place.at_end = self._at_end
        axes = np.arange(len(shape)) if plain or rng.integers(2) else rng.permutation(len(shape))
        steps = [1 if plain else int(pick(rng, 1, 1, 1, 2, -1, -2, 3)) for _ in shape]
        gap = int(rng.integers(1, 8)) if not plain and not is_output and rng.integers(12) == 0 else 0
        extent = [max(0, (shape[axis] - 1) * abs(steps[axis]) + 1) if shape[axis] else 0 for axis in axes]
        if np.prod(extent) * dtype.itemsize + gap + MARGIN > place.size:
            steps, extent, gap = [1] * len(shape), [shape[axis] for axis in axes], 0
        raw = place.bytes(extent, dtype, gap)
        around = place.bytes((raw.size + gap + MARGIN,), np.uint8)
        around[:] = rng.integers(0, 256)
        whole = raw.view(dtype).reshape(extent).transpose(np.argsort(axes))
        view = whole[(..., *(slice(None, None, step) for step in steps))]
        if is_output and dtype.kind == "f":
            view[...] = np.nan
        self._watched.append((around, around.copy(), view if is_output else None))
        return view

    def check(self, what):
        """Nothing but outputs has changed, and these everywhere."""
        for around, before, view in self._watched:
            if view is not None:
                require(view.dtype.kind != "f" or not np.isnan(view).any(), f"{what} has not written all of an output")
                kept = view.copy()
                view[...] = 0
                after = around.copy()
                around[:] = before
                view[...] = 0
                require((around == after).all(), f"{what} has written beside an output of {view.shape}")
                view[...] = kept
            else:
                require((around == before).all(), f"{what} has changed an input, or memory beside it")


def run(arena, function, *arrays, **numbers):
    """Call a kernel; it may refuse an array that is not aligned, also an empty one, which NumPy calls aligned."""
    try:
        function(*arrays, **numbers)
    except (TypeError, ValueError) as error:
        check_message(error)
        given = [x for x in arrays if isinstance(x, np.ndarray)]
        if "aligned" in str(error) and any(x.ctypes.data % x.itemsize for x in given):
            raise Refused from None
        raise Finding("exception", f"{function.__name__}: {error}") from error
    arena.check(function.__name__)


def exact(actual, expected, what):
    check_close(actual, expected, 0, what)


double = reference.double


def activation(rng):
    name = pick(rng, *EXACT)
    return epilogue.NAMES.index(name), name
