"""A network as one operation."""

from fastbp._checks import Array, as_samples
from fastbp._plan import Plan
from fastbp.model import Network
from fastbp.op import Context, Op


class Chain(Op):
    """A network as one operation, on samples and all its parameters."""

    kind = "sequential"
    needs_equal_dtypes = True

    def __init__(self, net: Network) -> None:
        self.net = net

    def forward(self, ctx: Context, x: Array, *parameters: Array) -> Array:
        samples = as_samples(x, self.net.input_shape, x.dtype)
        plan = Plan(self.net.layers, keep_buffers=False, stores_gradients=False)
        ctx.saved = (plan,)
        return plan.forward(samples, parameters)

    def backward(self, ctx: Context, dy: Array) -> tuple[Array | None, ...]:
        (plan,) = ctx.saved
        dx = plan.backward(dy, input_grad=ctx.needs[0])
        gradients = [dx]
        for layer, context in zip(plan.layers, plan.contexts, strict=True):
            gradients += context.by_parameters[: len(layer.parameters)]
        return tuple(gradients)
