"""The shopping examples of "Introduction to backpropagation by computational graphs".

Two apples at 100 each, three oranges at 150, a tax of 10 %: what is to be paid, and what does each number matter?
An addition passes the gradient on, a multiplication swaps its inputs.

    python docs/examples/shopping.py
"""

from fastbp import graph
from fastbp.graph import Variable


def apples() -> tuple[Variable, dict[str, Variable]]:
    """2 apples at 100, tax 1.1: the total and the variables."""
    price, count, tax = Variable(100.0, "apple price"), Variable(2.0, "apple count"), Variable(1.1, "tax")
    total = price * count * tax
    total.name = "total"
    return total, {x.name: x for x in (price, count, tax)}


def apples_and_oranges() -> tuple[Variable, dict[str, Variable]]:
    """The same with 3 oranges at 150."""
    apple, apples = Variable(100.0, "apple price"), Variable(2.0, "apple count")
    orange, oranges = Variable(150.0, "orange price"), Variable(3.0, "orange count")
    tax = Variable(1.1, "tax")
    total = (apple * apples + orange * oranges) * tax
    total.name = "total"
    return total, {x.name: x for x in (apple, apples, orange, oranges, tax)}


def main() -> None:
    for title, shop in (("Apples", apples), ("Apples and oranges", apples_and_oranges)):
        total, variables = shop()
        total.backward()
        print(f"{title}: {float(total):g} to pay")
        for name, x in variables.items():
            print(f"    d total / d {name:12}  {float(x.grad):.4g}")
        print()
        print(graph.trace(total))
        print()
    print("The graph in Mermaid's language, values above gradients, as GitHub and mermaid.live draw it:")
    print()
    print(graph.to_mermaid(total))


if __name__ == "__main__":
    main()
