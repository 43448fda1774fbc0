"""Layers, networks, losses, and operations of the user's as nodes of a graph."""

from collections.abc import Callable
from typing import Any

from fastbp._checks import as_real, as_samples
from fastbp.graph.chain import Chain
from fastbp.graph.checked import Checked, Functions
from fastbp.graph.node import describe
from fastbp.graph.variable import Variable, constant, nary
from fastbp.kernels._arrays import shown
from fastbp.layers import Layer, Parameter
from fastbp.model import Network
from fastbp.op import Op


def apply(op: Any, *inputs: Any) -> Any:
    """Apply an operation, a layer, a network or a loss to variables.

    Parameters
    ----------
    op : Op, Layer, Sequential or Loss
        A layer must be part of a network if it has parameters; the gradients by these go to ``parameter.grad``. A
        network is one node.
    inputs : Variable or array
        Layers and networks take one, (N, ...); losses take outputs and targets.

    Returns
    -------
    Variable, or a tuple of them for an operation with several outputs

    Raises
    ------
    TypeError
        When ``op`` is none of these, or does not give arrays of real numbers.
    ValueError
        When the shapes do not fit; names the node and the shapes.

    Examples
    --------
    >>> import fastbp as fb
    >>> from fastbp import graph
    >>> net = fb.Sequential(fb.Affine(3), fb.Tanh(), input_shape=2, seed=0)
    >>> y = graph.apply(net, [[1.0, 2.0]])
    >>> graph.sum(y * y).backward()
    >>> net.parameters()[0].grad.shape
    (3, 2)
    """
    if isinstance(op, Network):
        return _apply(Chain(op), op.parameters(), inputs)
    if isinstance(op, Layer):
        if not op.parameters and type(op).build is not Layer.build:
            raise ValueError(f"{op!r} has no parameters yet: make it part of a Sequential first")
        return _apply(op, op.parameters, inputs)
    if isinstance(op, type) and issubclass(op, Op):
        raise TypeError(f"an operation must be an instance: write {op.__name__}()")
    if not isinstance(op, Op):
        raise TypeError(f"an operation must be an Op, a layer or a network, got {shown(op)}")
    if not inputs:
        raise ValueError(f"{op.kind} needs at least one input")
    return nary(_checked(op), *inputs)


def _apply(op: Op, parameters: Any, inputs: tuple[Any, ...]) -> Variable:
    """A layer or a network applied to samples."""
    if len(inputs) != 1:
        raise ValueError(f"{op.kind} takes one input, got {len(inputs)}")
    x = inputs[0]
    if not isinstance(x, Variable) and parameters:  # as `Sequential.forward` does
        x = as_real(x, parameters[0].dtype, f"{op.kind}: x")
    x = constant(x, op.kind)
    layer = op.net if isinstance(op, Chain) else op
    assert isinstance(layer, Network | Layer)
    try:
        if isinstance(layer, Network):
            as_samples(x.value, layer.input_shape, x.dtype)
        elif not x.ndim:
            raise ValueError("takes samples (N, ...), got a single number")
        else:
            layer.output_shape(x.shape[1:])
    except ValueError as error:
        name = layer.name if isinstance(layer, Layer) else ""
        text = str(error).removeprefix(name).strip()
        raise ValueError(f"{name or op.kind}: {text}; inputs: {describe(x.source)} {x.shape}") from None
    made: Variable = nary(_checked(op), x, *map(_variable_of, parameters))
    if isinstance(layer, Layer):
        made.name = layer.name
    return made


def _variable_of(parameter: Parameter) -> Variable:
    """A parameter of a layer as a leaf."""
    made = Variable.__new__(Variable)
    made.source, made._value = parameter, parameter.value
    return made


def _checked(op: Op) -> Op:
    """What fastbp did not define is checked."""
    return op if type(op).__module__.partition(".")[0] == "fastbp" else Checked(op)


def custom(forward: Callable[..., Any], backward: Callable[..., Any], name: str = "") -> Callable[..., Any]:
    """A black box as an operation: a function of variables, made of one that computes and one that differentiates.

    Parameters
    ----------
    forward : function of (ctx, *inputs)
        Returns the output array, or a tuple of them; leaves in ``ctx.saved`` what ``backward`` needs. The inputs are
        read-only arrays.
    backward : function of (ctx, *grad_outputs)
        Returns the gradient by each input, of its shape and dtype, a tuple if there are several; None for none. With
        several outputs, None stands for a gradient of zeros.
    name : str
        For messages and pictures; by default the name of ``forward``.

    Returns
    -------
    function of variables
        Raises ValueError or TypeError that names the node when ``backward`` returns the wrong number of gradients, or
        one of the wrong shape or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import graph
    >>> def softplus(ctx, x):
    ...     ctx.saved = (x,)
    ...     return np.log1p(np.exp(x))
    >>> def by_x(ctx, dy):
    ...     (x,) = ctx.saved
    ...     return dy / (1 + np.exp(-x))
    >>> x = graph.Variable(0.0, "x")
    >>> y = graph.custom(softplus, by_x)(x)
    >>> y.backward()
    >>> x.grad
    array(0.5)
    """
    if not isinstance(name, str):
        raise TypeError(f"custom: name must be text, got {shown(name)}")
    for function in (forward, backward):
        if not callable(function):
            raise TypeError(f"custom needs two functions, got {shown(function)}")
    kind = name or getattr(forward, "__name__", "custom")
    op = Checked(Functions(forward, backward, "custom" if kind == "<lambda>" else kind))

    def applied(*inputs: Any) -> Any:
        if not inputs:
            raise ValueError(f"{op.kind} needs at least one input")
        return nary(op, *inputs)

    applied.__name__ = applied.__qualname__ = op.kind
    return applied
