"""Whatever the functions of a graph are given, they take it or say in one line why not; and none warns."""

import inspect
import warnings
from functools import partial

import numpy as np
import pytest
from bad_input import JUNK, complaint

import fastbp as fb
from fastbp import graph
from fastbp.graph import Variable

A, B, V = np.full((3, 4), 0.5), np.full((4, 2), 0.25), np.full(4, 2.0)
IMAGES, FILTERS = np.full((2, 2, 6, 6), 0.5), np.full((3, 2, 3, 3), 0.5)
LABELS = np.array([0, 3, 1])

POOL = {"x": IMAGES, "size": 2, "stride": 2, "padding": 0, "dilation": 1, "ceil": False}
AXES = {"x": A, "axis": 1, "keepdims": False}
CONV = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1}
AFFINE = {"activation": "leaky_relu", "slope": 0.1}
CALLS = {
    **{name: {"x": A, "y": V} for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum")},
    **{
        name: {"x": A}
        for name in ["exp", "log", "sqrt", "abs", "relu", "sigmoid", "tanh", "softmax", "log_softmax", "flatten"]
    },
    "power": {"x": A, "p": V},
    "clip": {"x": A, "low": 0.1, "high": 0.4},
    "where": {"condition": A > 0.2, "x": A, "y": V},
    **{name: AXES for name in ["sum", "mean", "moments", "max", "min", "max_with_index", "min_with_index"]},
    "reshape": {"x": A, "shape": (2, 6)},
    "transpose": {"x": A, "axes": (1, 0)},
    "broadcast_to": {"x": V, "shape": (3, 4)},
    "concatenate": {"xs": [A, A], "axis": 1},
    "stack": {"xs": [A, A], "axis": 1},
    "split": {"x": A, "parts": 2, "axis": 1},
    "matmul": {"a": A, "b": B},
    "leaky_relu": {"x": A, "slope": 0.1},
    "affine": {"x": A, "w": A, "b": np.ones(3), **AFFINE},
    "conv": {"x": IMAGES, "w": FILTERS, "b": np.ones(3), **CONV, **AFFINE},
    "max_pool": POOL,
    "avg_pool": {**POOL, "count_padding": True},
    "global_avg_pool": {"x": IMAGES},
    "softmax_cross_entropy": {"u": A, "t": LABELS},
    "sigmoid_cross_entropy": {"u": A, "t": A},
    "mean_squared_error": {"y": A, "t": A},
    "squared_error": {"y": A, "t": A, "half": True},
}  # fmt: skip
OTHERS = {"apply", "custom", "detect_anomaly", "jacobian", "per_sample_gradients", "to_dot", "to_mermaid", "trace"}
ARGUMENTS = [(name, key) for name, given in CALLS.items() for key in given]
# errors of what is given to an operation within, which is named in place of the function
WITHIN = {"max_with_index": "max", "min_with_index": "min"}


def test_every_function_has_a_call():
    public = {name for name, value in vars(graph).items() if inspect.isfunction(value) and name[0] != "_"}
    assert CALLS.keys() | OTHERS | {"undefined", "vjp"} == public


@pytest.mark.parametrize("name", CALLS)
def test_the_calls_are_right(name):
    getattr(graph, name)(**CALLS[name])


@pytest.mark.parametrize(("name", "key"), ARGUMENTS, ids=lambda text: text)
def test_arguments_that_make_no_sense(name, key):
    function, (first, *_) = getattr(graph, name), CALLS[name]
    for junk in JUNK.values():
        arguments = CALLS[name] | {key: junk}
        calls = [arguments]
        if isinstance(CALLS[name][first], np.ndarray) and first != key:
            calls.append(arguments | {first: Variable(arguments[first], "first")})
        for given in calls:
            assert complaint(WITHIN.get(name, name), partial(function, **given)) is None, (key, junk)


def leaf():
    return Variable(np.ones((3, 4)), "leaf")


OF_GRAPHS = {
    "vjp": lambda junk: [
        *((junk, leaf(), A), (leaf() * 2, junk, A), (leaf() * 2, [leaf(), junk], A), (leaf(), leaf(), junk)),
    ],
    "jacobian": lambda junk: [(junk, leaf()), (leaf() * 2, junk)],
    "undefined": lambda junk: [(junk,), (leaf(), junk)],
    "trace": lambda junk: [(junk,), (leaf(), junk)],
    "to_dot": lambda junk: [(junk,), (leaf(), junk)],
    "to_mermaid": lambda junk: [(junk,), (leaf(), junk)],
    "per_sample_gradients": lambda junk: [
        *((junk, [leaf()], A), (graph.sum, junk, A), (graph.sum, [junk], A), (graph.sum, [leaf()], junk)),
        *((graph.sum, leaf()), (lambda x: junk, leaf(), A), (lambda x: 1.0, leaf(), A)),
    ],
    "custom": lambda junk: [(junk, len), (len, junk), (len, len, junk)],
}  # fmt: skip


@pytest.mark.parametrize("name", OF_GRAPHS)
def test_arguments_of_what_is_asked_of_graphs(name):
    function = getattr(graph, name)
    for junk in JUNK.values():
        for given in OF_GRAPHS[name](junk):
            if not callable(junk) or given[0] is not junk:  # what functions of the user raise is theirs
                errors = [complaint(word, partial(function, *given)) for word in (name, "gradient", "sum")]
                assert None in errors, (junk, errors)


def test_what_is_applied():
    net = fb.Sequential(fb.Affine(3), fb.ReLU(), input_shape=4, seed=0)
    for junk in JUNK.values():
        assert complaint("operation", partial(graph.apply, junk, A)) is None
        layers = {"affine": net.layers[0], "flatten": fb.Flatten(), "relu": fb.ReLU()}
        for name, op in {"sequential": net, **layers}.items():
            assert complaint(name, partial(graph.apply, op, junk)) is None
            assert complaint(name, partial(graph.apply, op, A, junk)) is None
        assert complaint("squared_error", partial(graph.apply, fb.SquaredError(), A, junk)) is None
        assert complaint("squared_error", partial(graph.apply, fb.SquaredError(), leaf(), junk)) is None


@pytest.mark.parametrize(
    "name", [f"__{name}__" for name in ["add", "sub", "mul", "truediv", "pow", "matmul", "lt", "ge", "eq", "ne"]]
)
def test_operators(name):
    kind = {"sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power", "lt": "less"}
    operation = kind | {"ge": "greater_equal", "eq": "equal", "ne": "not_equal"}
    plain = operation.get(name.strip("_"), name.strip("_"))
    for junk in JUNK.values():
        assert complaint(plain, lambda junk=junk: getattr(leaf(), name)(junk)) is None
        assert complaint(plain, lambda junk=junk: getattr(Variable([[1, 2, 3, 4]], "leaf"), name)(junk)) is None


def test_variables():
    for junk in JUNK.values():
        assert complaint("value", partial(Variable, junk)) is None
        assert complaint("name", partial(Variable, 1.0, junk)) is None
        assert complaint("leaf", lambda junk=junk: leaf().assign(junk)) is None
        assert complaint("gradient", lambda junk=junk: (leaf() * 2).backward(junk)) is None
        assert complaint("index", lambda junk=junk: leaf()[junk], (TypeError, ValueError, IndexError)) is None
    vector, number = Variable([1.0, 2.0], "vector"), Variable(1.0, "number")
    for function, x in ((float, vector), (bool, vector), (len, number), (list, number)):
        assert complaint("vector" if x is vector else "number", partial(function, x)) is None


def test_integers_that_do_not_fit():
    with pytest.raises(ValueError, match="add: an integer of 71 bits does not fit beside an operand of int64"):
        Variable([1, 2]) + 2**70
    with pytest.raises(ValueError, match="multiply: an integer of 1329 bits does not fit beside an operand of float64"):
        10**400 * Variable(1.0)
    assert float(Variable(1.0) + 2**70) == 2.0**70


def test_no_operation_warns():
    """They give what IEEE 754 says, whatever NumPy is told to do; `detect_anomaly` finds the first."""
    x, huge, n = Variable([0.0, -1.0, np.inf, 1e308], "x"), Variable([1e38] * 4, "huge"), Variable([2, 0])
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        made = [
            *(1 / x, x / 0, x - x, x * x, x + x, x**-1.5, x**x, n / n, n**0.5, x * 1e300, x @ x, huge * 10**300),
            *(graph.exp(x), graph.log(x), graph.sqrt(x), graph.sum(x + x), graph.mean(x * 9), *graph.moments(x)),
            *(graph.softmax(x), graph.sigmoid(-x), graph.clip(Variable(huge.value.astype("f4")), -1e300, 1e300)),
            *(
                Variable(np.float32(1)) * 1e300,
                Variable(np.longdouble("1e4000")),
                graph.mean(Variable(A[:0]), 0),
            ),
            graph.squared_error(Variable(np.full((2, 2), 1e38, np.float32)), np.zeros((2, 2))),
        ]
        for y in made:
            if y.is_differentiable:
                y.backward(np.ones(y.shape), retain=True)
        leaf = Variable(np.float32(1), "leaf")
        leaf.assign(1e300)
        leaf.backward(1e300)
    assert sum(not np.isfinite(y.value).all() for y in made) >= len(made) - 4
    np.testing.assert_array_equal(graph.log(x).value, [-np.inf, np.nan, np.inf, np.log(1e308)])
