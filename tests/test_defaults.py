"""What ``fastbp train`` without options makes of data that it was not made for.

Sets made by formula, of which it is known how many samples anyone can tell apart, and real ones, where they are there:
in the folder that FASTBP_DATA names.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from test_compare import load

import fastbp as fb
from fastbp.cli import main

DATA = Path(os.environ.get("FASTBP_DATA", "no-data"))


@pytest.fixture(scope="module")
def defaults():
    return load("defaults")


@pytest.fixture(autouse=True)
def one_thread():
    """Results do not depend on the threads; one is not slowed down by whatever else runs on the machine."""
    threads = fb.get_num_threads()
    fb.set_num_threads(1)
    yield
    fb.set_num_threads(threads)


# --- sets by formula --------------------------------------------------------------------------------------------------


def clusters(n, features, classes, distance, seed=0):
    """Normal clusters of standard deviation 1 around centres about sqrt(2 features) ``distance`` apart."""
    rng = np.random.default_rng(seed)
    centres, y = distance * rng.normal(size=(classes, features)), rng.integers(0, classes, n)
    return centres[y] + rng.normal(size=(n, features)), y, centres


def nearest(x, centres):
    """The class of every sample for one who knows the centres: no one can do better."""
    distances = np.square(x).sum(1, keepdims=True) - 2 * x @ centres.T + np.square(centres).sum(1)
    return distances.argmin(1)


def train(tmp_path, x, y, *options):
    """The trained network and its share of right classes in the test set; it learns from files, as users have them."""
    np.savez(tmp_path / "data.npz", x=x, y=y)
    assert main(["train", "--data", str(tmp_path / "data.npz"), "--save", str(tmp_path / "net.npz"), *options]) == 0
    net = fb.Sequential.load(tmp_path / "net.npz")
    _, (x_test, y_test) = fb.datasets.split(x, y, test=0.2, seed=0)
    return net, fb.metrics.accuracy(y_test, net.predict(x_test.reshape(-1, *net.input_shape)).argmax(1))


@pytest.mark.parametrize(
    ("n", "features", "classes", "distance", "behind"),
    [
        (2000, 5, 3, 1.0, 0.03),
        (100, 10, 3, 1.0, 0.1),
        (20, 4, 2, 3.0, 0.0),
        (60_000, 8, 5, 1.5, 0.01),
        (4000, 20, 50, 1.0, 0.06),
        (1000, 2000, 4, 0.2, 0.02),
    ],
)
def test_clusters(n, features, classes, distance, behind, tmp_path):
    """Few and many samples, features and classes: not far behind one who knows the centres."""
    x, y, centres = clusters(n, features, classes, distance)
    _, (x_test, y_test) = fb.datasets.split(x, y, test=0.2, seed=0)
    best = fb.metrics.accuracy(y_test, nearest(x_test, centres))
    assert best > 0.8
    _, accuracy = train(tmp_path, x, y)
    assert accuracy >= best - behind


def scales(x):
    """Features from 1e-9 to 1e9, far from 0, two constants, and one of rounding errors."""
    rest = np.stack([np.zeros(len(x)), np.full(len(x), 1e12), 0.1 + np.arange(len(x)) % 2 * 1e-17], axis=1)
    return np.hstack([x * [1e-9, 1e-3, 1, 1e3, 1e9] + [1e-8, -1, 2000, 1e6, -1e11], rest])


def far(x):
    """A hundredth of all numbers a million times too large."""
    rng = np.random.default_rng(1)
    return np.where(rng.random(x.shape) < 0.01, 1e6 * x, x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("disfigure", "loss"), [(scales, 0.0), (far, 0.04), (lambda x: np.sign(x) * x**6, 0.04)])
def test_scales_and_outliers_cost_little(disfigure, loss, dtype, tmp_path):
    x, y, _ = clusters(2000, 5, 3, 1.0)
    _, plain = train(tmp_path, x, y)
    _, accuracy = train(tmp_path, disfigure(x).astype(dtype), y)
    assert accuracy >= plain - loss - 0.02


def test_features_that_move_together(tmp_path):
    """A thousand noisy copies of two numbers: steps at the usual rate would overshoot."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(1000, 2))
    x = np.repeat(z, 500, axis=1) + 0.1 * rng.normal(size=(1000, 1000))
    _, accuracy = train(tmp_path, x, (z[:, 0] > z[:, 1]).astype(int))
    assert accuracy >= 0.95


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_smooth_images(model, tmp_path):
    """Neighbouring pixels are nearly equal; the class is which half is brighter."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 24, 24)).cumsum(1).cumsum(2)
    y = (x[:, :, 12:].mean((1, 2)) > x[:, :, :12].mean((1, 2))).astype(int)
    options = ["--model", "cnn", "--filters", "8", "--epochs", "10"] if model == "cnn" else []
    _, accuracy = train(tmp_path, x, y, *options)
    assert accuracy >= 0.9


def test_rare_classes_and_rare_features(tmp_path):
    rng = np.random.default_rng(0)
    y = (rng.random(5000) < 0.02).astype(int)
    x = rng.normal(size=(5000, 4)) + 3 * y[:, None]
    _, accuracy = train(tmp_path, x, y)
    assert accuracy >= 0.99  # 0.98 is who always says 0
    x = (rng.random((3000, 100)) < 0.02).astype(np.uint8)
    _, accuracy = train(tmp_path, x, (x[:, :30].any(1)).astype(int))
    assert accuracy >= 0.97


def test_what_no_line_parts(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 2))
    _, accuracy = train(tmp_path, x, (x[:, 0] * x[:, 1] > 0).astype(int))
    assert accuracy >= 0.97


@pytest.mark.parametrize("options", [["--hidden", *["256"] * 6], ["--hidden"], ["--hidden", "2000"]])
def test_the_rate_suits_other_networks(options, tmp_path):
    x, y, _ = clusters(2000, 5, 3, 1.0)
    _, accuracy = train(tmp_path, x, y, *options)
    _, usual = train(tmp_path, x, y)
    assert accuracy >= usual - 0.04


# --- precision --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "spread", "dtype"),
    [(2000, 10, "float32"), (1_700_000_000, 10_000_000, "float32"), (1_700_000_000, 1000, "float64")],
)
def test_large_numbers_that_differ_little(start, spread, dtype, tmp_path):
    """Years and times in seconds: where float32 would round away what they differ in, the network is of float64."""
    rng = np.random.default_rng(0)
    time = start + rng.integers(0, spread, 600)
    x = np.stack([time, rng.integers(0, 5, 600)], axis=1)
    net, accuracy = train(tmp_path, x, (time > start + 0.6 * spread).astype(int))
    assert net.dtype == dtype
    assert accuracy >= 0.97


def test_a_dtype_that_is_given_stays(tmp_path):
    time = 1_700_000_000 + np.arange(100.0)[:, None]
    for dtype in ("float32", "float64"):
        assert train(tmp_path, time, np.arange(100) // 50, "--dtype", dtype, "--epochs", "1")[0].dtype == dtype


# --- predict ----------------------------------------------------------------------------------------------------------


def test_predict_scales_as_train_did(tmp_path, capsys):
    """Whatever the samples are that predict gets, one alone or all of a single class."""
    x, y, centres = clusters(1000, 5, 3, 2.0)
    net, accuracy = train(tmp_path, scales(x), y)
    assert accuracy >= 0.95
    assert isinstance(net.layers[0], fb.Standardize)
    for rows in (y == 0, np.arange(1000) == 7):
        np.savez(tmp_path / "some.npz", x=scales(x)[rows])
        capsys.readouterr()
        assert main(["predict", str(tmp_path / "net.npz"), "--data", str(tmp_path / "some.npz")]) == 0
        predicted = np.array(capsys.readouterr().out.split(), int)
        assert (predicted == nearest(x[rows], centres)).mean() >= 0.95


# --- real sets --------------------------------------------------------------------------------------------------------


def real(name):
    """Arguments that read a set of the data folder."""
    folder = DATA / name
    found = [*sorted(folder.glob("train-images*")), *sorted(folder.glob("train-labels*"))]
    found = found or [DATA / "tabular" / f"{name}.npz"]
    if not found[0].is_file():
        pytest.skip(f"{found[0]} is not there: set FASTBP_DATA to a folder of data to train on it")
    return ["--data", *found]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["wine", "wdbc", "vehicle", "satellite"])
def test_tables(name, seed, defaults):
    assert defaults.accuracy(*real(name), "--seed", seed) >= defaults.FLOORS[name]


def test_fashion_mnist(defaults):
    assert defaults.accuracy(*real("fashion-mnist")) >= defaults.FLOORS["fashion-mnist"]


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
def test_the_sets_of_scikit_learn(name, defaults, tmp_path):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: its sets are not trained on")
    (file,) = defaults.of_sklearn(tmp_path)[name]
    for seed in range(3):
        assert defaults.accuracy("--data", file, "--seed", seed) >= defaults.FLOORS[name]


# --- the program ------------------------------------------------------------------------------------------------------


def test_the_program_prints_a_table_and_tells_who_missed(defaults, tmp_path, capsys, monkeypatch):
    x, y, _ = clusters(60, 3, 2, 5.0)
    folder = tmp_path / "sets"
    folder.mkdir()
    np.savez(folder / "easy.npz", x=x, y=y)
    np.savez(folder / "gaps.npz", x=np.where(x > 2, np.nan, x), y=y)
    np.savez(folder / "regression.npz", x=x, y=x[:, 0])
    monkeypatch.setattr(defaults, "FLOORS", {"easy": 50})
    arguments = [str(folder), "--seeds", "0", "4", "--only", "easy", "gaps", "regression"]
    assert defaults.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| test accuracy, % | floor | seed 0 | seed 4 |"
    assert len(lines) == 3
    assert lines[2].startswith("| easy | 50 | ")
    monkeypatch.setattr(defaults, "FLOORS", {"easy": 101})
    assert defaults.main(arguments) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "below the floor: easy"


def test_a_run_that_fails_has_no_accuracy(defaults, tmp_path):
    assert np.isnan(defaults.accuracy("--data", tmp_path / "nothing.npz"))
    names = [name for name, _ in defaults.runs({"embedded digits": [], "table": ["t.npz"], "images": ["i", "l"]}, True)]
    assert names == ["embedded digits", "embedded digits, cnn", "table", "images", "images, cnn"]
