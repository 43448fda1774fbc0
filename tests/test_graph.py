"""The graph itself: variables, operators, the walk backward and the walk forward."""

import copy
import gc
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastbp as fb
from fastbp import graph
from fastbp.graph import Variable

EPS = float(np.finfo(np.float64).eps)
RNG = np.random.default_rng(6)


def test_operators():
    x, y = Variable([2.0, -3.0], "x"), Variable([4.0, 5.0], "y")
    a, b = x.value, y.value
    for made, expected in [
        *[(x + y, a + b), (x - y, a - b), (x * y, a * b), (x / y, a / b), (y**x, b**a), (-x, -a), (+x, a)],
        *[(abs(x), abs(a)), (x @ y, a @ b), (1 + x, 1 + a), (1 - x, 1 - a), (3 * x, 3 * a), (6 / x, 6 / a)],
        *[(2.0**x, 2.0**a), (b + x, b + a), (b @ x, b @ a), (b * x, b * a), (b / x, b / a), (b - x, b - a)],
        *[(x < y, a < b), (x <= y, a <= b), (x > y, a > b), (x >= y, a >= b), (x == y, a == b), (x != y, a != b)],
    ]:
        assert isinstance(made, Variable)
        assert made.dtype == expected.dtype
        np.testing.assert_array_equal(made.value, expected)


def test_gradients_of_operators():
    x, y = Variable(2.0, "x"), Variable(4.0, "y")
    for made, by_x, by_y in [
        *[(x + y, 1, 1), (x - y, 1, -1), (x * y, 4, 2), (x / y, 1 / 4, -1 / 8), (x**y, 32, 16 * np.log(2))],
        *[(y / x, -1, 1 / 2), (3 - x + 0 * y, -1, 0), (8 / x + y, -2, 1), (3**x + y, 9 * np.log(3), 1)],
    ]:
        made.backward()
        np.testing.assert_allclose([x.grad, y.grad], [by_x, by_y], rtol=4 * EPS)


def test_the_input_is_copied_and_the_value_cannot_be_written():
    array = np.array([1.0, 2.0])
    x = Variable(array)
    array[0] = 5
    assert x.value[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        x.value[0] = 3
    y = x * array
    array[1] = 7
    graph.sum(y).backward()
    np.testing.assert_array_equal(x.grad, [5, 2])  # the constant was copied, too


def test_results_of_the_caller_are_not_shared():
    x, y = Variable(np.ones(3), "x"), Variable(np.ones(3), "y")
    seed = np.array([1.0, 2.0, 3.0])
    (x + y).backward(seed)
    x.grad[0] = 100
    np.testing.assert_array_equal(y.grad, [1, 2, 3])
    np.testing.assert_array_equal(seed, [1, 2, 3])
    first = y.grad
    (x + y).backward(2 * seed)
    np.testing.assert_array_equal(first, [1, 2, 3])


@pytest.mark.parametrize("terms", [2, 3, 7])
def test_a_variable_used_several_times_gets_the_sum_of_its_gradients(terms):
    x = Variable([1.0, 2.0], "x")
    total = x
    for _ in range(terms - 1):
        total = total + x
    total.backward([1.0, 10.0])
    np.testing.assert_array_equal(x.grad, [terms, 10 * terms])
    z = x * x * x
    z.backward([1.0, 1.0])
    np.testing.assert_array_equal(x.grad, 3 * x.value**2)


@pytest.fixture
def memory():
    """Bytes that NumPy's arrays take at most while a function runs, beyond those that were there."""

    def peak(run):
        gc.collect()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        result = run()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most - before, result

    return peak


@pytest.mark.parametrize("term", [lambda x: x, lambda x: x * 2.0, lambda x: -x, lambda x: x[:]])
def test_memory_of_a_sum_of_many_terms_is_constant(memory, term):
    """The variable, the sum, the gradient by it, that by the variable, a term of it: for 10 terms as for 100."""
    n = 200_000

    def run(terms):
        x = Variable(np.ones(n))
        total = term(x)
        for _ in range(terms - 1):
            total = total + term(x)
        total.backward(np.ones(n))
        return x.grad

    few, many = memory(lambda: run(10)), memory(lambda: run(100))
    assert few[0] > 3 * 8 * n
    assert many[0] - few[0] < 0.5 * 8 * n
    assert many[0] < 5.5 * 8 * n
    np.testing.assert_array_equal(many[1] / few[1], 10)


def test_what_a_node_saved_is_freed_as_soon_as_its_inputs_have_their_gradients(memory):
    """A chain that saves 50 arrays on the way forward needs no more than a few further ones on the way back."""
    n, steps = 100_000, 50
    x = Variable(np.ones(n))
    y = x
    for _ in range(steps):
        y = graph.exp(-y)
    seed = np.ones(n)
    most, _ = memory(lambda: y.backward(seed))
    assert most < 5 * 8 * n
    gc.collect()
    tracemalloc.start()
    y = x
    for _ in range(steps):
        y = graph.exp(-y)
    before, _ = tracemalloc.get_traced_memory()
    y.backward(seed)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert before - after > (steps - 3) * 8 * n


def test_a_maximum_pool_keeps_no_images():
    x = Variable(np.ones((4, 4, 64, 64)))
    graph.max_pool(x, 8)  # loads the kernel
    gc.collect()
    tracemalloc.start()
    y = graph.max_pool(x * 2.0, 8)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert y.size == x.size // 64
    assert held < x.value.nbytes / 2


def test_gradients_of_many_slices_are_added_in_one_buffer(memory):
    n = 400_000
    x = Variable(np.ones((100, n // 100)))

    def run():
        total = x[0]
        for i in range(1, 100):
            total = total + x[i]
        total.backward(np.ones(n // 100))

    most, _ = memory(run)
    assert most < 2 * 8 * n
    np.testing.assert_array_equal(x.grad, 1)


def test_a_chain_of_100_000_nodes():
    x = Variable(1.0, "x")
    y = x
    for _ in range(100_000):
        y = y + 1e-5
    y.backward()
    assert float(x.grad) == 1
    assert float(y.forward()) == pytest.approx(2, abs=100_000 * EPS)
    y.backward()
    assert float(x.grad) == 1
    del y
    gc.collect()


def test_a_diamond_is_walked_once():
    """Without topological order the work would double with each level."""
    visits = []

    def forward(ctx, x):
        return x

    def backward(ctx, dy):
        visits.append(dy)
        return dy

    same = graph.custom(forward, backward)
    x = Variable(1.0, "x")
    y = x
    for _ in range(30):
        left = same(y)
        y = left + left
    y.backward()
    assert len(visits) == 30
    assert float(x.grad) == 2**30


def test_retained_gradients():
    x = Variable(3.0, "x")
    u = x * x
    u.name = "u"
    y = u + 1
    y.backward(retain=True)
    assert float(u.grad) == 1
    assert float(y.grad) == 1
    y.backward(retain=True)
    assert float(x.grad) == 6
    y.backward()
    with pytest.raises(RuntimeError, match=r"freed what add\(u, 1\) had saved: keep it by backward\(retain=True\)"):
        y.backward()
    assert float(x.grad) == 6
    z = u * 2
    with pytest.raises(RuntimeError, match="freed what u had saved"):
        z.backward()
    with pytest.raises(RuntimeError, match=r"multiply\(u, 2\) has no gradient: those by results are kept"):
        _ = z.grad


def test_retained_gradients_are_not_overwritten():
    """An activation may write its gradient over the one that it got, but not where that is kept."""
    x = Variable([-1.0, 2.0], "x")
    u = x * 1.0
    y = graph.relu(u)
    z = y * [3.0, 5.0]
    for _ in range(2):
        z.forward().backward([1.0, 1.0])
        z.forward().backward([1.0, 1.0], retain=True)
        np.testing.assert_array_equal(y.grad, [3, 5])
        np.testing.assert_array_equal(u.grad, [0, 5])
        np.testing.assert_array_equal(x.grad, [0, 5])


def test_old_gradients_of_results_are_gone():
    x = Variable(2.0, "x")
    y = x * x
    y.backward(retain=True)
    (y * y).backward()
    with pytest.raises(RuntimeError, match="those by results are kept by"):
        _ = y.grad


def test_a_pass_that_fails_can_be_repaired():
    fails = [True]

    def forward(ctx, x):
        if fails[0]:
            raise KeyError("not now")
        ctx.saved = (x,)
        return x * x

    x = Variable(3.0, "x")
    fails[0] = False
    y = graph.custom(forward, lambda ctx, dy: 2 * ctx.saved[0] * dy)(x) * 1.0
    fails[0] = True
    with pytest.raises(KeyError, match="not now"):
        y.forward()
    with pytest.raises(RuntimeError, match=r"run forward\(\) again"):
        y.backward()
    fails[0] = False
    y.forward().backward()
    assert float(x.grad) == 6


@pytest.mark.parametrize("accumulate", [False, True])
def test_a_backward_pass_that_fails_half_way_leaves_no_gradients(accumulate):
    def backward(ctx, dy):
        raise KeyError("not now")

    net = fb.Sequential(fb.Affine(2), input_shape=3, seed=0)
    x = Variable(np.ones((2, 3)), "x")
    graph.sum(graph.apply(net, x)).backward()
    before = [p.grad.copy() for p in net.parameters()]
    y = graph.sum(graph.apply(net, graph.custom(lambda ctx, x: x + 0, backward)(x)))
    with pytest.raises(KeyError, match="not now"):
        y.backward(accumulate=accumulate)
    for parameter, earlier in zip(net.parameters(), before, strict=True):
        np.testing.assert_array_equal(parameter.grad, earlier if accumulate else 0)
    if not accumulate:
        with pytest.raises(RuntimeError, match="x has no gradient"):
            _ = x.grad


def test_a_pass_that_is_refused_changes_nothing():
    x = Variable(3.0, "x")
    y = graph.exp(x) * 0.0 + x
    y.backward()
    with pytest.raises(RuntimeError, match="freed"):
        y.backward()
    assert float(x.grad) == 1


def test_gradients_accumulate_when_asked_to():
    x = Variable([1.0, 2.0], "x")
    (2 * x).backward([1.0, 1.0], accumulate=True)
    first = x.grad
    (3 * x).backward([1.0, 1.0], accumulate=True)
    assert x.grad is first
    np.testing.assert_array_equal(x.grad, [5, 5])
    (3 * x).backward([1.0, 1.0])
    np.testing.assert_array_equal(x.grad, [3, 3])


def test_forward_again_with_new_inputs():
    x, w = Variable([[1.0, 2.0]], "x", constant=True), Variable([[3.0, 4.0]], "w")
    u = graph.affine(x, w)
    y = graph.sum(graph.relu(u))
    y.backward()
    np.testing.assert_array_equal(w.grad, [[1, 2]])
    x.assign([[5.0, 6.0], [-7.0, 0.0]])
    assert float(y) == 11  # nothing is computed behind the back
    assert y.forward() is y
    assert float(y) == 15 + 24
    np.testing.assert_array_equal(u.value, [[39], [-21]])
    y.backward()
    np.testing.assert_array_equal(w.grad, [[5, 6]])
    z = -w  # which saves nothing
    for _ in range(2):
        z.forward().backward([[1.0, 1.0]])


def test_forward_again_reaches_all_outputs_and_what_has_no_gradient():
    x = Variable([3.0, 1.0], "x")
    largest, place = graph.max_with_index(x)
    y = graph.where(x > 2, largest, x)
    x.assign([0.0, 4.0])
    graph.sum(y).forward()
    assert float(largest.value) == 4
    np.testing.assert_array_equal(y.value, [0, 4])
    place.forward()
    assert int(place.value) == 1


def test_backward_after_a_leaf_was_changed():
    x, w = Variable(2.0, "x"), Variable(3.0, "w")
    y = x * w
    y.name = "y"
    w.assign(4.0)
    with pytest.raises(RuntimeError, match=r"w was changed after y was computed from it: run forward\(\) again"):
        y.backward()
    with pytest.raises(RuntimeError, match="w was changed"):
        graph.undefined(y)
    assert float(y.forward()) == 8
    y.backward()
    assert float(x.grad) == 4
    u = x + 1
    z = u * w
    u.forward()
    with pytest.raises(RuntimeError, match=r"add\(x, 1\) was changed after multiply"):
        z.backward()
    x.assign(10.0)
    u.forward()  # later than z, which is made from it
    assert float(z.forward()) == 11 * 4
    z.backward()
    assert float(x.grad) == 4


def test_an_optimizer_updates_variables():
    w = Variable([1.0, 2.0], "w")
    y = graph.sum(w * w)
    y.backward()
    fb.SGD(0.5).step([w])
    np.testing.assert_array_equal(w.value, [0, 0])
    y.forward()
    fb.SGD(0.5).step([w])
    with pytest.raises(RuntimeError, match="w was changed"):
        y.backward()
    y = w * w
    y.backward([1.0, 1.0], retain=True)
    with pytest.raises(TypeError, match="is a result; only leaves can be updated"):
        fb.SGD(0.5).step([y])


def test_several_outputs():
    x = Variable([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]], "x")
    mean, variance = graph.moments(x, axis=1)
    np.testing.assert_array_equal(mean.value, [3, 4])
    np.testing.assert_allclose(variance.value, [14 / 3, 0], rtol=4 * EPS)
    graph.sum(mean).backward(retain=True)
    np.testing.assert_array_equal(x.grad, np.full((2, 3), 1 / 3))
    graph.sum(variance).backward(retain=True)
    np.testing.assert_allclose(x.grad, 2 * (x.value - mean.value[:, None]) / 3, rtol=4 * EPS)
    first, second, third = graph.split(x, (1, 2), axis=1)
    (second[0, 0] * 5).backward(retain=True)
    np.testing.assert_array_equal(x.grad, [[0, 5, 0], [0, 0, 0]])
    (first + third).backward([[1.0], [2.0]])
    np.testing.assert_array_equal(x.grad, [[1, 0, 1], [2, 0, 2]])


def test_absent_gradients_of_outputs_are_not_allocated(memory):
    n = 200_000
    x = Variable(np.ones((20, n // 20)))
    parts = graph.split(x, 20)
    seed = np.ones((1, n // 20))
    most, _ = memory(lambda: parts[3].backward(seed))
    assert most < 1.5 * 8 * n  # dx alone
    assert x.grad.sum() == n // 20


def test_the_index_of_the_largest_element_has_no_gradient():
    x = Variable([1.0, 5.0], "x")
    largest, place = graph.max_with_index(x)
    with pytest.raises(TypeError, match=r"max\(x\)\[1\] holds int64 and has no gradient"):
        place.backward()
    (largest * place).backward()
    np.testing.assert_array_equal(x.grad, [0, 1])


# --- dtypes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "held"),
    [
        *[(np.float32(1), "float32"), (1.0, "float64"), (np.float16(1), "float32"), (np.longdouble(1), "float64")],
        *[(1, "int64"), (True, "bool"), (np.uint8(3), "uint8"), (np.array(1.0, ">f4"), "float32")],
    ],
)
def test_dtypes_that_a_variable_holds(given, held):
    x = Variable(given)
    assert x.dtype == held
    assert x.dtype.isnative
    assert x.is_differentiable == held.startswith("float")


@pytest.mark.parametrize("given", [1j, "text", None, [object()], np.datetime64("2020-01-01")])
def test_what_is_no_real_number_is_refused(given):
    with pytest.raises(TypeError, match="name must hold real numbers"):
        Variable(given, "name")


def test_mixed_precision():
    single, double = Variable(np.ones(3, np.float32), "single"), Variable(np.ones(3), "double")
    y = single * double
    assert y.dtype == np.float64
    graph.sum(y).backward()
    assert single.grad.dtype == np.float32
    assert double.grad.dtype == np.float64
    assert (single * 2.5).dtype == np.float32  # a plain number follows the array, as in NumPy
    assert (single * np.float64(2.5)).dtype == np.float64
    assert (Variable(3) * 2.5).dtype == np.float64
    assert (single * np.arange(3)).dtype == np.float64
    u = graph.affine(Variable(np.ones((2, 3), np.float32)), np.ones((4, 3)), np.ones(4, int))
    assert u.dtype == np.float64
    assert graph.relu(Variable([1, -2])).dtype == np.float64


def test_gradients_of_mixed_precision_are_added_in_the_dtype_of_the_variable():
    x = Variable(np.ones(3, np.float32), "x")
    y = x * np.ones(3) + x * 2 + x * np.ones(3)
    graph.sum(y).backward()
    assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad, 4)


@pytest.mark.parametrize(
    "use",
    [
        lambda w, x: graph.sum(x @ w),
        lambda w, x: graph.sum(graph.affine(x, w)),
        lambda w, x: graph.sum(graph.affine(x, w, w[0], activation="relu")),
        lambda w, x: graph.sum(w[[0, 1, 0]] * x),
        lambda w, x: graph.sum(graph.split(w, 2)[1] * x[:1]),
    ],
)
def test_a_variable_of_single_precision_used_twice_beside_double(use):
    w, x = Variable(np.ones((2, 2), np.float32), "w"), np.ones((3, 2))
    use(w, x).backward()
    once = w.grad
    for second in (use(w, x) + graph.sum(w * w), graph.sum(w * w) + use(w, x)):
        second.backward()
        assert w.grad.dtype == np.float32
        np.testing.assert_array_equal(w.grad, once + 2)
    (use(w, x) + use(w, x)).backward()
    np.testing.assert_array_equal(w.grad, 2 * once)


def test_integers_that_an_operation_makes_have_no_gradient():
    x = Variable(1.6, "x")
    rounded = graph.custom(lambda ctx, x: np.round(x).astype(int), lambda ctx, dy: dy, name="round")(x)
    with pytest.raises(TypeError, match=r"round\(x\) holds int64 and has no gradient"):
        rounded.backward()
    y = rounded * x
    y.backward()
    assert float(x.grad) == 2
    assert [row.gradient is None for row in graph.trace(y) if row.name == "round_1"] == [True]


def test_integers_and_masks_as_inputs():
    x = Variable([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "x")
    labels, mask = Variable([2, 0], "labels"), Variable([True, False], "mask")
    y = graph.sum(x[np.arange(2), labels] * 10) + graph.sum(x[mask])
    y.backward()
    np.testing.assert_array_equal(x.grad, [[1, 1, 11], [10, 0, 0]])
    with pytest.raises(TypeError, match="labels holds int64 and has no gradient"):
        _ = labels.grad
    with pytest.raises(TypeError, match="mask holds bool and has no gradient"):
        mask.backward(np.ones(2))
    labels.assign([0, 0])
    assert float(y.forward()) == 50 + 6


def test_a_whole_number_is_an_integer():
    price = Variable(100, "price")
    with pytest.raises(TypeError, match=r"price holds int64 and has no gradient; write Variable\(100.0\)"):
        _ = price.grad


def test_constants_have_no_gradient():
    x = Variable(2.0, "x", constant=True)
    w = Variable(3.0, "w")
    (x * w).backward()
    assert float(w.grad) == 2
    with pytest.raises(TypeError, match="x has no gradient: it is constant"):
        _ = x.grad
    with pytest.raises(TypeError, match=r"multiply\(x, 2\) has no gradient: it is constant, or made from constants"):
        (x * 2).backward()


# --- bad input --------------------------------------------------------------------------------------------------------


def test_backward_needs_a_gradient_to_start_from():
    x = Variable(np.ones((2, 3)), "x")
    y = x * 2
    y.name = "y"
    with pytest.raises(ValueError, match=r"y has the shape \(2, 3\): backward needs a gradient of this shape"):
        y.backward()
    with pytest.raises(ValueError, match=r"the gradient by y must have its shape \(2, 3\), got \(3, 2\)"):
        y.backward(np.ones((3, 2)))
    with pytest.raises(TypeError, match="gradient must hold real numbers"):
        y.backward("1")
    with pytest.raises(RuntimeError, match="x has no gradient: none has come here"):
        _ = x.grad


def test_shapes_that_do_not_broadcast():
    x, y = Variable(np.ones((2, 3)), "x"), Variable(np.ones(2), "y")
    with pytest.raises(ValueError, match=r"add: the shapes .* do not fit together; inputs: x \(2, 3\), y \(2,\)"):
        x + y
    with pytest.raises(ValueError, match=r"affine: .*inputs: x \(2, 3\), y \(2,\)"):
        graph.affine(x, y)
    with pytest.raises(ValueError, match=r"matmul: .*inputs: x \(2, 3\), y \(2,\)"):
        x @ y
    with pytest.raises(ValueError, match=r"reshape: .*inputs: x \(2, 3\)"):
        graph.reshape(x, (4, 2))
    with pytest.raises(IndexError, match=r"index: .*inputs: x \(2, 3\)"):
        x[5]


def test_forward_again_names_the_node_that_fails():
    x, y = Variable(np.ones(3), "x"), Variable(np.ones(3), "y")
    z = x + y
    z.name = "z"
    x.assign(np.ones(4))
    with pytest.raises(ValueError, match=r"z: the shapes .* do not fit together; inputs: x \(4,\), y \(3,\)"):
        z.forward()
    x.assign(np.zeros(3))
    np.testing.assert_array_equal(z.forward().value, 1)


def test_assignments_that_do_not_fit():
    x, labels = Variable(1.0, "x"), Variable(1, "labels")
    with pytest.raises(TypeError, match="labels holds int64, got float64"):
        labels.assign(0.5)
    with pytest.raises(TypeError, match="x must hold real numbers"):
        x.assign("2")
    with pytest.raises(TypeError, match=r"add\(x, 1\) is a result; only leaves can be assigned"):
        (x + 1).assign(2.0)
    with pytest.raises(TypeError, match="is a Variable already"):
        Variable(x)


def test_numbers_alone_are_constants():
    for made, value in [
        *[(graph.where(True, 1.0, 2.0), 1), (graph.stack([1.0, 2.0]), [1, 2]), (graph.add(1.0, 2), 3)],
        *[(graph.moments([2.0, 4.0])[1], 1), (graph.custom(lambda ctx, x: 2 * x, print)(2.0), 4)],
    ]:
        np.testing.assert_array_equal(made.value, value)
        assert not made.is_differentiable
    assert graph.where(Variable([1, 0]), Variable(np.ones(2, np.float32)), 0.0).dtype == np.float32


@pytest.mark.parametrize(
    "key", [((0, 0),), range(2), [0, 0], np.array([0, 0]), [], (slice(None),), True, [True, False, True]]
)
def test_keys_as_numpy_takes_them(key):
    x = Variable([1.0, 2.0, 3.0], "x")
    y = x[key]
    numpy_key = np.array(key, int) if isinstance(key, range) or (isinstance(key, list) and not key) else key
    np.testing.assert_array_equal(y.value, np.array([1.0, 2.0, 3.0])[numpy_key])
    graph.sum(y).backward()
    expected = np.zeros(3)
    np.add.at(expected, numpy_key, 1)
    np.testing.assert_array_equal(x.grad, expected)


def test_messages_are_not_longer_than_needed():
    xs = [Variable(np.ones(i + 1), f"x{i}") for i in range(300)]
    with pytest.raises(ValueError, match=r"^stack: all input arrays .*; inputs: x0 \(1,\), .*x4 \(5,\), \.\.\.$"):
        graph.stack(xs)
    with pytest.raises(ValueError, match=r"^matmul: the columns of a must be as many as the rows of b"):
        xs[0][:, None] @ np.ones((2, 2))
    with pytest.raises(ValueError, match=r"^conv: (?!conv)"):
        graph.conv(xs[0], xs[0])


def test_python_conversions():
    x = Variable([1.0, 2.0], "x")
    assert len(x) == 2
    assert [float(part) for part in x] == [1, 2]
    assert bool(x[0] < x[1])
    assert (x == None) is False  # noqa: E711
    assert (x != None) is True  # noqa: E711
    assert hash(x) != hash(Variable([1.0, 2.0]))
    for wrong, kind in [
        *[(lambda: bool(x), ValueError), (lambda: list(x[0]), TypeError), (lambda: np.asarray(x), TypeError)],
        *[(lambda: np.exp(x), TypeError), (lambda: len(x[0]), TypeError), (lambda: float(x), ValueError)],
    ]:
        with pytest.raises(kind):
            wrong()
    with pytest.raises(TypeError, match=r"x would leave the graph as a NumPy array; write \.value"):
        np.asarray(x)


def test_names_are_text():
    with pytest.raises(TypeError, match="the name of a Variable must be text, got 3"):
        Variable(1.0, 3)
    x = Variable(1.0, "x")
    with pytest.raises(TypeError, match="must be text, got None"):
        x.name = None
    assert x.name == "x"


def test_repr():
    assert repr(Variable(2.0)) == "Variable(2.)"
    assert repr(Variable(np.float32(2), "x")) == "Variable(2., name='x', dtype=float32)"
    assert len(repr(Variable(np.zeros((1000, 1000))))) < 400


def test_copies_of_leaves():
    x = Variable([1.0, 2.0], "x")
    y = x * 2
    y.backward([1.0, 1.0])
    for copied in (copy.deepcopy(x), copy.copy(x), pickle.loads(pickle.dumps(x))):
        assert copied.name == "x"
        copied.assign([5.0, 6.0])
        np.testing.assert_array_equal(x.value, [1, 2])
    assert not copy.copy(Variable(1.0, constant=True)).is_differentiable
    with pytest.raises(TypeError, match=r"multiply\(x, 2\) is a result and cannot be copied or pickled"):
        copy.deepcopy(y)


def test_cycles_cannot_be_built():
    """A result is made after its inputs, and no input can be replaced."""
    x = Variable(1.0, "x")
    y = x + 1
    with pytest.raises(TypeError):
        x.assign(y)
    with pytest.raises(TypeError):
        y.assign(1.0)
    assert y.source.inputs[0] is x.source


@given(st.lists(st.sampled_from("+-*/^"), min_size=1, max_size=12), st.integers(0, 10**6))
def test_random_expressions_of_scalars(signs, seed):
    """Forward as Python computes it, backward as numerical differentiation does."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.5, 1.5, 3)
    choices = rng.integers(0, 3, len(signs))

    def evaluate(leaves):
        z = leaves[0]
        for sign, i in zip(signs, choices, strict=True):
            other = leaves[i]
            z = {"+": lambda a, b: a + b, "-": lambda a, b: a - b + 1.7, "*": lambda a, b: a * b}.get(
                sign, (lambda a, b: a / b) if sign == "/" else (lambda a, b: (a * a + 0.1) ** b)
            )(z, other)
        return z

    variables = [Variable(value) for value in values]
    z = evaluate(variables)
    assert float(z) == pytest.approx(evaluate(values), rel=32 * EPS)
    if z.is_leaf:
        return
    fb.check_gradients(z)
