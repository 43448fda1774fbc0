"""z = (x + y)^2 by the chain rule: t = x + y, z = t^2, dz/dx = 2 t.

python docs/examples/square_of_a_sum.py
"""

from fastbp import graph
from fastbp.graph import Variable


def square_of_a_sum(x: float, y: float) -> tuple[Variable, Variable, Variable]:
    """z, x and y after a backward pass; the graph keeps the gradient by t, too."""
    a, b = Variable(x, "x"), Variable(y, "y")
    t = a + b
    t.name = "t"
    z = t**2
    z.name = "z"
    z.backward(retain=True)
    return z, a, b


def main() -> None:
    z, x, y = square_of_a_sum(2.0, 3.0)
    print(graph.trace(z))
    print()
    print(f"dz/dx = 2 (x + y) = {float(x.grad):g}, dz/dy = {float(y.grad):g}")


if __name__ == "__main__":
    main()
