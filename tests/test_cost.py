"""The benchmark of the O(w) cost counts what a step really computes, and fits a line as it should."""

import numpy as np
import pytest
from test_compare import load

BATCH = 64


@pytest.fixture(scope="module")
def cost():
    return load("cost")


@pytest.mark.parametrize(("matrices", "width"), [(1, 32), (2, 20), (5, 33)])
def test_w_products_forward_and_two_w_minus_one_backward(cost, matrices, width):
    net, step, _ = cost.network(matrices, width)
    forward, backward = cost.products(step._forward), cost.products(step._backward)
    assert (len(forward), len(backward)) == (matrices, 2 * matrices - 1)
    one = BATCH * width * width
    assert {int(np.prod(product)) for product in forward + backward} == {one}
    predicted = net.cost(BATCH)
    assert (predicted.forward, predicted.backward) == (matrices * one, (2 * matrices - 1) * one)


def test_measured_points(cost):
    point = cost.measure(2, 32, 0.01)
    assert (point["forward"]["products"], point["backward"]["products"]) == (2, 3)
    work, times = cost.totals([point])
    assert work == [5 * BATCH * 32 * 32]
    assert times[0] > 0


def test_the_fit_of_a_power(cost):
    work = np.array([1e3, 1e4, 1e6])
    exponent, r_squared = cost.fit(work, 3e-4 * work**0.9)
    assert (exponent, r_squared) == (pytest.approx(0.9), pytest.approx(1))
    assert cost.fit(work, [1.0, 30.0, 20.0])[1] < 0.9
