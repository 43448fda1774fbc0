"""Tables: what a network consists of and what a step costs."""

import numpy as np
import pytest

import fastbp as fb


def network():
    return fb.Sequential(
        fb.Flatten(), fb.Affine(100), fb.ReLU(), fb.Affine(10, bias=False), fb.Softmax(), input_shape=(1, 8, 8)
    )


def test_cost_by_layer():
    cost = network().cost(batch_size=32)
    assert [row.name for row in cost.layers] == ["flatten_1", "affine_1", "relu_1", "affine_2", "softmax_1"]
    assert [row.output_shape for row in cost.layers] == [(64,), (100,), (100,), (10,), (10,)]
    assert [row.parameters for row in cost.layers] == [0, 6500, 0, 1000, 0]
    assert [row.forward for row in cost.layers] == [0, 32 * 6400, 0, 32 * 1000, 0]
    assert [row.backward for row in cost.layers] == [0, 32 * 6400, 0, 2 * 32 * 1000, 0]
    assert (cost.forward, cost.backward, cost.parameters) == (32 * 7400, 32 * 8400, 7500)
    # kept: the output of affine_1 with its ReLU once, that of affine_2, that of the softmax
    assert cost.activation_bytes == 32 * (100 + 10 + 10) * 4


def test_cost_of_images():
    """Convolution, ReLU and pool keep one array, the result of the pool, and its index; gradients are those by the
    loss and by the result of the pool, for the convolution is the first layer."""
    layers = fb.Conv2d(6, 3, padding=1), fb.ReLU(), fb.MaxPool2d(2), fb.Flatten(), fb.Affine(10)
    cost = fb.Sequential(*layers, input_shape=(2, 8, 8)).cost(4)
    assert [row.forward for row in cost.layers] == [4 * 6 * 64 * 18, 0, 0, 0, 4 * 96 * 10]
    assert cost.activation_bytes == 4 * ((96 + 10) * 4 + 96)
    assert cost.delta_bytes == 4 * (96 + 10) * 4
    assert cost.training_bytes == 2 * 4 * (6 * 18 + 6 + 960 + 10) + cost.activation_bytes + cost.delta_bytes


def test_activations_cost_as_much_as_the_units_of_the_layers():
    """O(N n_h): an activation behind an affine layer keeps one array, not two."""
    layers = [layer for _ in range(3) for layer in (fb.Affine(20), fb.Tanh())]
    assert fb.Sequential(*layers, input_shape=5, dtype="float64").cost(7).activation_bytes == 7 * 3 * 20 * 8


def test_batch_size_scales_and_is_checked():
    net = network()
    assert net.cost(64).forward == 64 * net.cost().forward
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        net.cost(0)
    with pytest.raises(TypeError, match="batch_size must be an integer"):
        net.cost(1.5)


def test_summary_shows_every_layer_and_the_totals():
    net = network()
    text = str(net.summary())
    assert repr(net.summary()) == text
    lines = text.splitlines()
    assert lines[0].split() == ["layer", "name", "output", "shape", "parameters", "multiply-adds"]
    assert lines[3].split() == ["Affine(100)", "affine_1", "100", "6,500", "6,400"]
    assert lines[-2].split() == ["total", "7,500", "7,400"]
    assert lines[-1].startswith("input 1 x 8 x 8, float32, parameters 30,000 bytes")
    assert all(line == line.rstrip() for line in lines)
    table = lines[:-1]
    assert len({len(line) for line in table}) == 1  # numbers end in one column


def test_cost_table():
    text = str(network().cost(32))
    assert "multiply-adds for a batch of 32" in text
    assert f"activations {32 * 120 * 4:,} bytes" in text
    assert text.splitlines()[-2].split() == ["total", "7,500", "236,800", "268,800"]


def test_scalar_samples():
    net = fb.Sequential(fb.Tanh(), fb.Flatten(), fb.Affine(2), input_shape=())
    assert net.forward(np.zeros(3)).shape == (3, 2)
    assert "input 1," in str(net.summary())
