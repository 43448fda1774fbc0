"""Gradients against numerical differentiation, in float64 on a copy of the network or graph.

`check_gradients` moves one element at a time:  dJ/dw ~ (J(w + h) - J(w - h)) / 2h.
`check_projection` moves all of them at once along a random direction v:  d/ds J(w + s v) ~ <grad J, v>.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from fastbp._checks import Array, as_samples, check_count, check_number
from fastbp._plan import Plan
from fastbp.graph import Variable, walk
from fastbp.graph.kinks import kinks
from fastbp.graph.names import names
from fastbp.graph.node import Leaf, Node
from fastbp.graph.replay import Replay
from fastbp.kernels._arrays import shown
from fastbp.layers import LeakyReLU, ReLU, Standardize
from fastbp.model import Network

_STEP = 1e-5
_EPS = float(np.finfo(np.float64).eps)


class GradientError(AssertionError):
    """A gradient disagrees with numerical differentiation."""


@dataclass(frozen=True)
class GradientReport:
    """Outcome of a check.

    Attributes
    ----------
    checked, skipped : int
        Elements (or directions) compared, and those left out because a step crosses a kink: for networks those of
        rectifiers, for graphs those of all operations.
    worst : float
        Largest error as a share of what rounding and the curvature of J allow; below 1.
    """

    checked: int
    skipped: int
    worst: float


class _Function:
    """A function of all ``numbers``, arrays by name that may be changed in place."""

    numbers: dict[str, Array]
    base: list[Array]  # the sides where the gradients were taken

    def __call__(self) -> float:
        raise NotImplementedError

    def sides(self) -> list[Array]:
        """On which smooth piece of the function each element was in the last call."""
        raise NotImplementedError

    def gradients(self) -> dict[str, Array]:
        """By every one of the numbers; sets ``base``."""
        raise NotImplementedError

    def unit(self, name: str) -> Array:
        """What counts as a move of 1, for the numbers of that name."""
        return np.broadcast_to(1.0, self.numbers[name].shape)

    def scale(self) -> float:
        """What rounding errors of the last value are to be seen beside, if it is a sum that nearly cancels."""
        return 0.0

    def slope(self, move: Any, step: float) -> tuple[float, float] | None:
        """Numerical derivative along ``move(s)`` at 0 and the error to allow; None where a kink is crossed.

        Central differences of width h and 2h tell the truncation error; the values of J carry rounding errors of a
        few dozen eps at most.
        """
        values, sides, scale = [], [], 0.0
        for s in (-2 * step, -step, step, 2 * step):
            with move(s):
                values.append(self())
                sides.append(self.sides())
                scale = max(scale, abs(values[-1]), self.scale())
        if any(not np.array_equal(a, b) for other in sides for a, b in zip(self.base, other, strict=True)):
            return None
        far_low, low, high, far_high = values
        narrow, wide = (high - low) / (2 * step), (far_high - far_low) / (4 * step)
        rounding = 50 * _EPS * scale / step
        return narrow, abs(wide - narrow) + rounding + 50 * _EPS * abs(narrow)


class _Cost(_Function):
    """J of a float64 copy of a network on one batch."""

    def __init__(self, net: Network, x: npt.ArrayLike, y: npt.ArrayLike, loss: Any, l2: float) -> None:
        self.net = net.astype("float64")
        self.x = as_samples(x, net.input_shape, self.net.dtype).copy()
        self.loss, self.targets = self.net.check_targets(self.x, y, loss)
        self.l2 = check_number(l2, "l2")
        self.plan = Plan(self.net.layers, keep_buffers=True)
        self.delta = np.empty((len(self.x), *self.net.output_shape))
        self.numbers = {p.name: p.value for p in self.net.parameters()} | {"x": self.x}
        self.kinks = [i for i, layer in enumerate(self.net.layers) if isinstance(layer, ReLU | LeakyReLU)]

    def unit(self, name: str) -> Array:
        first = self.net.layers[0]
        if name == "x" and isinstance(first, Standardize):
            return np.broadcast_to(first.std, self.x.shape)
        return super().unit(name)

    def __call__(self) -> float:
        u = self.plan.forward(self.x)
        return self.loss.compute(u, self.targets, self.delta) + self.l2 * self.net.penalty()

    def sides(self) -> list[Array]:
        return [self.plan.contexts[i].saved[0] > 0 for i in self.kinks]

    def gradients(self) -> dict[str, Array]:
        self()
        self.base = self.sides()
        dx = self.plan.backward(self.delta, input_grad=True, l2=self.l2)
        assert dx is not None
        return {p.name: p.grad.copy() for p in self.net.parameters()} | {"x": dx.copy()}


class _GraphCost(_Function):
    """<seed, y> of a float64 copy of the graph of y, with a random seed if y is no single number."""

    def __init__(self, y: Variable, seed: int) -> None:
        y.check_differentiable()
        self.seed = np.ones(y.shape) if y.size == 1 else np.random.default_rng(seed).standard_normal(y.shape)
        double = np.dtype(np.float64)
        self.checked = Replay(y.source, dtype=double)
        # networks are taken apart to see where their layers have kinks
        self.replay = Replay(y.source, dtype=double, is_expanded=True)
        leaves = [x for x in walk.leaves(walk.ancestors(y.source), y.source) if x.is_differentiable]
        self.leaves = {name: self.checked.copies[leaf] for leaf, name in names(leaves).items()}
        copies = (self.replay.copies[leaf] for leaf in leaves)
        self.numbers = {name: x.value for name, x in zip(self.leaves, copies, strict=True) if isinstance(x, Leaf)}

    def __call__(self) -> float:
        y = self.replay.forward()
        # of another shape it is beyond a jump, which the sides tell
        return float((self.seed * y).sum()) if y.shape == self.seed.shape else math.nan

    def sides(self) -> list[Array]:
        found = [kinks(self.replay, node) for node in self.replay.nodes if isinstance(node, Node)]
        return [pair[1] for pair in found if pair is not None]

    def scale(self) -> float:
        return max(float(np.linalg.norm(x)) for x in self.replay.values.values())

    def gradients(self) -> dict[str, Array]:
        if not math.isfinite(self()):
            raise ValueError("the variable is not finite there: its gradients cannot be checked")
        self.base = self.sides()
        self.checked.forward()
        self.checked.backward(self.seed)
        found = self.checked.gradients
        return {name: found.get(self.leaves[name], np.zeros(x.shape)) for name, x in self.numbers.items()}


class _Tally:
    """Collects comparisons of a gradient with a numerical slope."""

    def __init__(self) -> None:
        self.checked = self.skipped = 0
        self.worst, self.complaint = 0.0, ""

    def compare(self, name: str, gradient: float, slope: tuple[float, float] | None) -> None:
        """Count one comparison; ``slope`` is the slope and the error to allow, or None where a kink was crossed."""
        if slope is None:
            self.skipped += 1
            return
        self.checked += 1
        numerical, allowed = slope
        error = abs(gradient - numerical)
        share = error / allowed if allowed else (math.inf if error else 0.0)
        if not share <= self.worst and not math.isnan(self.worst):  # so that NaN counts as wrong, and stays
            self.worst = share
            self.complaint = f"{name}: gradient {gradient:.9g}, numerical slope {numerical:.9g}"

    def report(self) -> GradientReport:
        if not self.worst <= 1:
            raise GradientError(f"{self.complaint}; {self.worst:.3g} times the error that rounding and curvature allow")
        return GradientReport(self.checked, self.skipped, self.worst)


class _Move:
    """Context manager that shifts arrays by s times a direction and puts them back."""

    def __init__(self, arrays: list[Array], directions: list[Any], s: float) -> None:
        self.arrays, self.directions, self.s = arrays, directions, s

    def __enter__(self) -> None:
        self.before = [array.copy() for array in self.arrays]
        for array, direction in zip(self.arrays, self.directions, strict=True):
            array += self.s * direction

    def __exit__(self, *_: object) -> None:
        for array, before in zip(self.arrays, self.before, strict=True):
            array[...] = before


def _elements(shape: tuple[int, ...], samples: int, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
    """All indices of an array, or a random choice of ``samples`` of them."""
    size = math.prod(shape)
    chosen = range(size) if size <= samples else sorted(rng.choice(size, samples, replace=False))
    for i in chosen:
        yield np.unravel_index(int(i), shape)


@overload
def check_gradients(net: Variable, *, samples: int = 200, seed: int = 0) -> GradientReport: ...
@overload
def check_gradients(
    net: Network, x: npt.ArrayLike, y: npt.ArrayLike, *, loss: Any, l2: float = 0.0, samples: int = 200, seed: int = 0
) -> GradientReport: ...
def check_gradients(
    net: Network | Variable,
    x: npt.ArrayLike | None = None,
    y: npt.ArrayLike | None = None,
    *,
    loss: Any = None,
    l2: float = 0.0,
    samples: int = 200,
    seed: int = 0,
) -> GradientReport:
    """Compare every gradient of a network or of a graph with central differences, element by element.

    Parameters
    ----------
    net : Sequential or fastbp.graph.Variable
        Is not changed; the check runs on a float64 copy. Of a variable, the gradients by all leaves that it is made
        from are checked; with several elements it is multiplied by random numbers and summed first.
    x, y : arrays
        A small batch for a network.
    loss, l2 : as in `Sequential.fit`
        For a network.
    samples : int
        Elements checked in each parameter and in x, or in each leaf; a random choice in larger ones.
    seed : int
        Of that choice.

    Returns
    -------
    GradientReport

    Raises
    ------
    GradientError
        Names the worst element, its gradient and its numerical slope.
    ValueError, TypeError
        As `Sequential.fit`.

    Examples
    --------
    >>> import fastbp as fb
    >>> x, y = fb.datasets.load_digits()
    >>> net = fb.Sequential(fb.Affine(5), fb.Tanh(), fb.Affine(10), input_shape=64, seed=0)
    >>> fb.check_gradients(net, x[:4], y[:4], loss=fb.SoftmaxCrossEntropy()).skipped
    0

    At 0 the rectifier has a kink:

    >>> x = fb.graph.Variable([-1.0, 0.0, 2.0], "x")
    >>> report = fb.check_gradients(fb.graph.relu(x) ** 2 + fb.graph.relu(x))
    >>> report.checked, report.skipped
    (2, 1)
    """
    cost: _Function
    if isinstance(net, Variable):
        if x is not None or y is not None or loss is not None or l2:
            raise TypeError("check_gradients of a graph takes the variable alone, without x, y, loss and l2")
        cost = _GraphCost(net, seed)
    else:
        if not isinstance(net, Network):
            raise TypeError(f"check_gradients takes a network or a Variable, the result of a graph, got {shown(net)}")
        if x is None or y is None or loss is None:
            raise TypeError("check_gradients of a network needs x, y and loss")
        cost = _Cost(net, x, y, loss, l2)
    samples = check_count(samples, "samples")
    gradients = cost.gradients()
    rng = np.random.default_rng(seed)
    tally = _Tally()
    for name, array in cost.numbers.items():
        unit = cost.unit(name)
        for index in _elements(array.shape, samples, rng):
            element: Array = array[(..., *(slice(i, i + 1) for i in index))]  # type: ignore[arg-type]
            step = _STEP * max(float(unit[index]), abs(float(array[index])))
            slope = cost.slope(lambda s, element=element: _Move([element], [1.0], s), step)
            place = f"[{', '.join(str(int(i)) for i in index)}]" if index else ""
            tally.compare(f"{name}{place}", float(gradients[name][index]), slope)
    return tally.report()


def check_projection(
    net: Network,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    loss: Any,
    l2: float = 0.0,
    directions: int = 5,
    seed: int = 0,
) -> GradientReport:
    """Compare the gradient with the slope of the cost along random directions in the space of all parameters and x.

    Four forward passes per direction, so that networks of any size can be checked; a direction that crosses a kink is
    tried again with shorter steps. Parameters, result and errors as in `check_gradients`.
    """
    cost = _Cost(net, x, y, loss, l2)
    gradients = cost.gradients()
    rng = np.random.default_rng(seed)
    arrays = list(cost.numbers.values())
    tally = _Tally()
    for number in range(check_count(directions, "directions")):
        v = [rng.standard_normal(array.shape) for array in arrays]
        length = math.sqrt(sum(float((d * d).sum()) for d in v))
        v = [d / length for d in v]
        slope = None
        for step in (_STEP, _STEP / 8, _STEP / 64):
            slope = slope or cost.slope(lambda s, v=v: _Move(arrays, v, s), step)
        expected = sum(float((gradients[name] * d).sum()) for name, d in zip(cost.numbers, v, strict=True))
        tally.compare(f"direction {number}", expected, slope)
    return tally.report()
