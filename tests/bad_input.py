"""What the tests of bad input share: data, a small network, and ways to spoil them."""

import numpy as np

import fastbp as fb

X, Y = (array[:60] for array in fb.datasets.load_digits())
ONE_OF_K = np.eye(10)[Y]
NAN, INF = float("nan"), float("inf")


def with_value(array, row, value):
    changed = np.array(array, np.result_type(array, np.asarray(value)))
    changed[row, 1] = value
    return changed


def make_net(**changes):
    return fb.Sequential(fb.Affine(8), fb.ReLU(), fb.Affine(10), **{"input_shape": 64, "seed": 0, **changes})


def fit(x=X, y=Y, *, net=None, **changes):
    """The trained network."""
    net = net or make_net()
    net.fit(x, y, **{"loss": fb.SoftmaxCrossEntropy(), "optimizer": fb.SGD(0.1), **changes})
    return net


def weights(net):
    return [parameter.value.copy() for parameter in net.parameters()]


def assert_same_weights(net, other):
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(a.value, b.value)


class Table:
    """Like a data frame: no array, but knows how to become one."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)
