"""What the tests of bad input share: data, a small network, and ways to spoil them."""

import re

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


class Junk:
    """An object that is of no use to anyone."""

    def __repr__(self):
        return "Junk()"


# In place of any argument: some of it fits here and there, and then nothing is said against it.
JUNK = {
    "None": None,
    "True": True,
    "1.5": 1.5,
    "nan": NAN,
    "inf": INF,
    "-1": -1,
    "2**31": 2**31,
    "2**70": 2**70,
    "10**400": 10**400,
    "1e300": 1e300,
    "a number of NumPy's": np.float32(0.5),
    "complex": 1j,
    "text": "a",
    "bytes": b"a",
    "object": Junk(),
    "class": Junk,
    "function": lambda *_: None,
    "dictionary": {"a": 1},
    "empty list": [],
    "empty tuple": (),
    "list of text": ["a", "b"],
    "list with None": [1, None],
    "ragged list": [[1.0], [2.0, 3.0]],
    "large integers": [10**30, 1],
    "pair of floats": (0.5, 1.5),
    "equal axes": (0, 0),
    "large axes": (5, 9),
    "nested": ((1, 2), (3, 4)),
    "array of text": np.array(["a"]),
    "array of objects": np.array([None, 1]),
    "array of dates": np.array(["2000-01-01"], "M8[D]"),
    "complex array": np.ones((3, 4), complex),
    "masked array": np.ma.masked_less(np.ones((3, 4)), 2),
    "one number": np.array(2.0),
    "vector": np.ones(7),
    "floats": np.full((2, 3), 0.5),
    "five axes": np.ones((1, 2, 3, 2, 1)),
    "no elements": np.empty((0, 4)),
    "NaN": np.full((3, 4), NAN),
    "infinite": np.full((3, 4), INF),
    "longer floats": np.full((3, 4), np.longdouble("1e4000")),
    "8 bits": np.ones((3, 4), np.int8),
    "truth values": np.ones((3, 4), bool),
}

# What NumPy, Numba and Python say to their own users.
RAW = re.compile(
    r"numpy|numba|object (is not|has no)|broadcast together|could not convert|cannot (interpret|unpack|convert)|"
    r"'\w+' object|Python int|unsized|unhashable|iterable|array element|inhomogeneous|positional|keyword|"
    r"not supported|bad operand|matching definition|truth value|must be real number|NoneType|ufunc|matplotlib"
)


def complaint(name, function, errors=(TypeError, ValueError)):
    """What is wrong with ``function()``: None if it succeeds, or says in one line of its own words why it does not.

    The line names the operation. Warnings are errors here, and of another type.
    """
    try:
        function()
    except Exception as error:
        text = str(error)
        is_clear = "\n" not in text and len(text) < 500 and not RAW.search(text) and _plain(name) in _plain(text)
        if type(error) in errors and not hasattr(error, "__notes__") and is_clear:
            return None
        return error
    return None


def _plain(text):
    return text.replace("_", "").lower()
