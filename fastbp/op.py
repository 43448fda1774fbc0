"""The operation: the unit of which chains of layers and graphs are made."""

from itertools import count
from typing import Any

import numpy as np

from fastbp._checks import Array, Real
from fastbp.kernels._arrays import check_array
from fastbp.kernels.epilogue import IDENTITY

# Every array that an operation reads has been made or changed before it: numbers of this clock tell the order.
clock = count(1)


class Context:
    """What one place in a chain or a graph remembers of an operation between forward and backward.

    Attributes
    ----------
    saved : tuple
        What the forward pass left for the backward pass.
    needs : tuple of bool
        For every input, whether backward shall return the gradient by it.
    activation, slope : int, float
        Activation that the operation applies to its output (a constant of `fastbp.kernels.epilogue`), set by a plan
        that fuses the layer behind.
    pool : Op, optional
        Maximum pool that the operation applies to its output, behind the activation, set likewise.
    below, below_slope : int, float
        Activation whose output the first input is, and whose derivative backward multiplies into its gradient.
    is_free : bool
        Whether backward may overwrite the gradient by the output.
    l2, rate : float, optional
        Weight decay of the gradients by parameters; learning rate if backward shall update the parameters at once, and
        return no gradients by them.
    """

    __slots__ = ("__dict__", "saved")

    saved: tuple[Any, ...]
    needs: tuple[bool, ...] = (True,)
    activation: int = IDENTITY
    slope: float = 0.0
    below: int = IDENTITY
    below_slope: float = 0.0
    pool: "Op | None" = None
    is_free: bool = False
    l2: float = 0.0
    rate: float | None = None

    def __init__(self) -> None:
        self.saved = ()

    def output(self, name: str, shape: tuple[int, ...], dtype: Real, label: str = "") -> Array:
        """An array to write a result to.

        Where ``label`` says whose output it is, a size that depends on more than the input's is checked: MemoryError
        when it cannot fit.
        """
        if label:
            check_array(label, "the output", shape, dtype)
        return np.empty(shape, dtype)

    def gradient(self, i: int, shape: tuple[int, ...], dy: Array) -> tuple[Array, bool]:
        """An array for the gradient by input ``i``, while ``dy`` is read, and whether to add to what is in it."""
        return np.empty(shape, dy.dtype), False


class Op:
    """A differentiable operation on arrays. It keeps no state of a call: that lives in the `Context`.

    A subclass defines `forward` and `backward`; it may keep arguments of its constructor that are no arrays, such as an
    axis. It must leave its inputs as they are.

    Attributes
    ----------
    kind : str
        What it is called in pictures and messages; by default the name of the class.
    is_differentiable : bool
        Whether there are gradients at all: not for comparisons.
    needs_equal_dtypes : bool
        Whether all inputs must be of one dtype, float32 or float64: as kernels want them, and where NumPy would make
        half precision of small integers.
    broadcasts : bool
        Whether the shapes of the inputs must fit together as NumPy broadcasts them.
    returns_new : bool
        Whether all gradients that backward returns are new arrays, of which nobody else knows.
    accumulates : tuple of int
        The inputs whose gradients backward adds to what is in the array of `Context.gradient`, if that says so.
    overwrites : bool
        Whether backward heeds `Context.is_free`.
    undefined : str
        Where the derivative does not exist, and what backward returns there.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import graph
    >>> class Cube(graph.Op):
    ...     def forward(self, ctx, x):
    ...         ctx.saved = (x,)
    ...         return x**3
    ...     def backward(self, ctx, dy):
    ...         (x,) = ctx.saved
    ...         return 3 * x**2 * dy
    >>> x = graph.Variable(2.0, "x")
    >>> y = graph.apply(Cube(), x)
    >>> y.backward()
    >>> x.grad
    array(12.)
    """

    kind = "op"
    is_differentiable = True
    needs_equal_dtypes = False
    broadcasts = False
    returns_new = False
    accumulates: tuple[int, ...] = ()
    overwrites = False
    undefined = ""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "kind" not in vars(cls):
            cls.kind = cls.__name__.lower()

    def forward(self, ctx: Context, *inputs: Any) -> Any:
        """The output, or a tuple of outputs; saves in ``ctx`` what `backward` needs."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def backward(self, ctx: Context, *grad_outputs: Any) -> Any:
        """The gradients by the inputs, a tuple if there are several, from those by the outputs.

        None as the gradient by an output stands for zeros; None as that by an input says that there is none.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no backward")

    def kinks(self, ctx: Context, *inputs: Any) -> tuple[Array, Array] | None:
        """Where the derivative does not exist, and the smooth pieces that meet there; None if it exists everywhere.

        The first array says for every element of the (first) output whether its derivative exists not; in the second
        one an element changes when it moves from one smooth piece to another. Of ``ctx`` only ``needs`` counts.
        """
        return None
