"""Derivatives of graphs that leave ``grad`` alone, and where they do not exist."""

from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from fastbp._checks import Array, as_array
from fastbp.graph import walk
from fastbp.graph.handle import check_handle
from fastbp.graph.kinks import UndefinedReport, find
from fastbp.graph.node import Source
from fastbp.graph.variable import Variable
from fastbp.kernels._arrays import shown
from fastbp.layers import Parameter

By = Variable | Parameter


def source_of(x: By, name: str) -> Source:
    """The node of the graph that a derivative is taken by; TypeError, of function ``name``, where there is none."""
    if isinstance(x, Parameter):
        return x
    if not isinstance(x, Variable):
        raise TypeError(f"{name}: a derivative is taken by a Variable or a Parameter, got {shown(x)}")
    x.check_differentiable()
    return x.source


def _several(by: Any, name: str) -> tuple[list[By], list[Source]]:
    """What derivatives are taken by, one or several, and the nodes that it stands for."""
    try:
        variables = [by] if isinstance(by, Variable | Parameter) else list(by)
    except (TypeError, MemoryError):  # one thing, and neither of these
        variables = [by]
    return variables, [source_of(x, name) for x in variables]


def _gradients(y: Variable, by: Sequence[By], sources: Sequence[Source], seed: Array) -> tuple[Array, ...]:
    """Gradients by each of ``by``, zeros where none comes."""
    root = y.source
    with np.errstate(all="ignore"):
        found = walk.gradients(walk.backward_order(root), root, seed, retain=True)
    return tuple(
        found[source].copy() if source in found else np.zeros(x.value.shape, source.dtype)
        for x, source in zip(by, sources, strict=True)
    )


@overload
def vjp(y: Variable, by: By, gradient: npt.ArrayLike | None = None) -> Array: ...
@overload
def vjp(y: Variable, by: Sequence[By], gradient: npt.ArrayLike | None = None) -> tuple[Array, ...]: ...
def vjp(y: Variable, by: Any, gradient: npt.ArrayLike | None = None) -> Any:
    """Vector-Jacobian product: the gradient of <gradient, y>, by one variable or by several.

    The graph is kept, and no ``grad`` is written.

    Parameters
    ----------
    y : Variable
    by : Variable or Parameter, or a sequence of them
        Leaves or results that y is made from; by others the gradient is 0.
    gradient : array of the shape of y, optional
        The vector; 1 for a single number.

    Returns
    -------
    ndarray, or a tuple of them

    Raises
    ------
    ValueError, TypeError, RuntimeError
        As `Variable.backward`.

    Examples
    --------
    >>> from fastbp import graph
    >>> x = graph.Variable([1.0, 2.0], "x")
    >>> graph.vjp(x * x, x, [1.0, 10.0])
    array([ 2., 40.])
    """
    check_handle(y, "vjp")
    made = _gradients(y, *_several(by, "vjp"), y.seed(gradient))
    return made[0] if isinstance(by, Variable | Parameter) else made


def jacobian(y: Variable, by: By) -> Array:
    """All derivatives of y by a variable: an array of the shape of y followed by that of the variable.

    One backward pass for each element of y, so for small graphs.

    Examples
    --------
    >>> from fastbp import graph
    >>> x = graph.Variable([1.0, 2.0], "x")
    >>> graph.jacobian(graph.stack([x[0] * x[1], x[0] + x[1]]), x)
    array([[2., 1.],
           [1., 1.]])
    """
    check_handle(y, "jacobian")
    source = source_of(by, "jacobian")
    y.check_differentiable()
    rows = np.empty((y.size, *by.value.shape), source.dtype)
    seed = np.zeros(y.size, y.dtype)
    for i in range(y.size):
        seed[i] = 1
        (rows[i],) = _gradients(y, [by], [source], seed.reshape(y.shape))
        seed[i] = 0
    return rows.reshape(*y.shape, *by.value.shape)


@overload
def per_sample_gradients(loss: Callable[..., Variable], by: By, *batch: npt.ArrayLike) -> Array: ...
@overload
def per_sample_gradients(
    loss: Callable[..., Variable], by: Sequence[By], *batch: npt.ArrayLike
) -> tuple[Array, ...]: ...
def per_sample_gradients(loss: Callable[..., Variable], by: Any, *batch: npt.ArrayLike) -> Any:
    """The gradient of a loss for every sample of a batch by itself.

    Parameters
    ----------
    loss : function
        Gets a batch of one sample, x[n:n+1] of every array of ``batch``, and returns a single number, a Variable.
    by : Variable or Parameter, or a sequence of them
    batch : arrays of the same length N

    Returns
    -------
    ndarray, or a tuple of them
        For each of ``by`` an array of its shape with the axis (N,) in front.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import graph
    >>> w = graph.Variable([[1.0, 1.0]], "w")
    >>> x, t = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[0.0], [0.0]])
    >>> def loss(x, t):
    ...     return graph.squared_error(graph.affine(x, w), t, half=True)
    >>> (dw,) = graph.per_sample_gradients(loss, [w], x, t)
    >>> dw
    array([[[ 3.,  6.]],
    <BLANKLINE>
           [[21., 28.]]])
    """
    name = "per_sample_gradients"
    if not callable(loss):
        raise TypeError(f"{name}: loss must be a function of a batch, got {shown(loss)}")
    variables, sources = _several(by, name)
    arrays = [as_array(x, f"{name}: an array of the batch") for x in batch]
    if not arrays or any(x.ndim == 0 or len(x) != len(arrays[0]) for x in arrays):
        raise ValueError(f"{name}: the batch must be arrays of the same length, got {[x.shape for x in arrays]}")
    made = tuple(
        np.empty((len(arrays[0]), *x.value.shape), source.dtype) for x, source in zip(variables, sources, strict=True)
    )
    for n in range(len(arrays[0])):
        y = loss(*(x[n : n + 1] for x in arrays))
        if not isinstance(y, Variable) or y.size != 1:
            got = f"the shape {y.shape}" if isinstance(y, Variable) else shown(y)
            raise ValueError(f"{name}: the loss must be a Variable of a single number, got {got}")
        for rows, gradient in zip(made, _gradients(y, variables, sources, y.seed(None)), strict=True):
            rows[n] = gradient
    return made[0] if isinstance(by, Variable | Parameter) else made


def undefined(y: Variable, gradient: npt.ArrayLike | None = None) -> UndefinedReport:
    """Where a backward pass from y meets points at which a derivative does not exist.

    Runs the graph forward and backward beside itself, so that it may be called after `Variable.backward`; functions of
    the user's are called again.

    Parameters
    ----------
    y : Variable
    gradient : array of the shape of y, optional
        As for `Variable.backward`.

    Returns
    -------
    UndefinedReport
        One `Undefined` for each node with such points; printing shows a table.

    Examples
    --------
    >>> from fastbp import graph
    >>> x = graph.Variable([-1.0, 0.0, 0.0, 2.0], "x")
    >>> y = graph.sum(graph.relu(x) * [1.0, 0.0, 1.0, 1.0])
    >>> graph.undefined(y)
    node    operation  elements  gradient not 0  not defined at
    ----------------------------------------------------------------
    relu_1  relu              2               1  u = 0, where du = 0
    """
    check_handle(y, "undefined")
    return find(y.source, y.seed(gradient))
