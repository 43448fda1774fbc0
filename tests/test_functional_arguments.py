"""Whatever the functions of `fastbp.functional` are given, they take it or say in one line why not; and none warns."""

import inspect
import re
from functools import partial

import numpy as np
import pytest
from bad_input import JUNK, complaint

from fastbp import functional as F

X, W, B, DY = np.full((3, 4), 0.5), np.full((2, 4), 0.25), np.ones(2), np.full((3, 2), 2.0)
ACTIVATED = {"dy": DY, "y": DY, "x": X, "w": W, "l2": 0.1}
LABELS = np.array([0, 3, 1])
ELEMENTWISE = ("identity", "relu", "leaky_relu", "sigmoid", "tanh", "softmax", "log_softmax")


def images(axes, channels=2, size=6):
    return np.full((2, channels, *[size] * axes), 0.5)


def conv(axes):
    numbers = {"w": images(axes, 2, 3), "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    forward = {"x": images(axes), "b": np.ones(2), "activation": "leaky_relu", "slope": 0.1, **numbers}
    backward = {"dy": images(axes, 2, 4), "x": images(axes), "l2": 0.1, **numbers}
    return {f"conv{axes}d_forward": forward, f"conv{axes}d_backward": backward}


def pool(axes):
    calls = {}
    for kind, more in (("max", {}), ("avg", {"count_padding": True})):
        numbers = {"size": 2, "stride": 2, "padding": 0, "dilation": 1, "ceil": False, **more}
        calls[f"{kind}_pool{axes}d_forward"] = {"x": images(axes), **numbers}
        calls[f"{kind}_pool{axes}d_backward"] = {"dy": images(axes, 2, 3), "x": images(axes), **numbers}
    return calls


CALLS = {
    **{f"{name}_forward": {"x": X} for name in ELEMENTWISE},
    **{f"{name}_backward": {"dy": X, "y": X} for name in ELEMENTWISE},
    "leaky_relu_forward": {"x": X, "slope": 0.1},
    "leaky_relu_backward": {"dy": X, "y": X, "slope": 0.1},
    "standardize_forward": {"x": X, "mean": X[0], "std": np.ones_like(X[0]), "limit": 5.0},
    "standardize_backward": {"dy": X, "x": X, "mean": X[0], "std": np.ones_like(X[0]), "limit": 5.0},
    "matmul": {"a": X, "b": W.T},
    "affine_forward": {"x": X, "w": W, "b": B, "activation": "leaky_relu", "slope": 0.1},
    "affine_backward": {"dy": DY, "x": X, "w": W, "l2": 0.1},
    "affine_delta": {"delta": DY, "w": W, "h": X, "activation": "leaky_relu", "slope": 0.1},
    **{f"affine_{name}_forward": {"x": X, "w": W, "b": B} for name in ("relu", "sigmoid", "tanh")},
    **{f"affine_{name}_backward": ACTIVATED for name in ("relu", "sigmoid", "tanh")},
    "to_augmented": {"w": W, "b": B},
    "from_augmented": {"augmented": X},
    "softmax_cross_entropy": {"u": X, "t": LABELS},
    "mean_squared_error": {"y": X, "t": X},
    "squared_error": {"y": X, "t": X, "half": True},
    "sigmoid_cross_entropy": {"u": X, "t": X},
    "sgd_update": {"g": X, "w": X, "lr": 0.5, "l2": 0.1},
    **conv(1), **conv(2), **conv(3), **pool(1), **pool(2), **pool(3),
    "global_avg_pool2d_forward": {"x": images(2)},
    "global_avg_pool2d_backward": {"dy": images(2)[..., 0, 0], "x": images(2)},
}  # fmt: skip


def test_every_function_has_a_call():
    assert CALLS.keys() == {name for name, value in vars(F).items() if inspect.isfunction(value)}


@pytest.mark.parametrize("name", CALLS)
def test_arguments_that_make_no_sense(name):
    """Either the function is named, or the argument."""
    function, given, kind = getattr(F, name), CALLS[name], re.sub(r"\d?d?_[a-z]+ward$", "", name)
    function(**given)
    for key in given:
        words = {"t": ["targets", "labels", "1-of-K", "u", "y"], "y": ["y", "u"]}.get(key, [key])
        for junk in JUNK.values():
            call = partial(function, **given | {key: junk})
            errors = [complaint(word, call) for word in (kind, *words)]
            assert None in errors, (key, junk, errors)
