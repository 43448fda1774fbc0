"""``fastbp train`` and ``fastbp predict``: what they print, read and write, and their exit statuses."""

import errno
import gzip
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import fastbp as fb
from fastbp import __main__ as entry
from fastbp import cli
from fastbp.cli import main

SMALL = ("--hidden", "16", "--lr", "0.2", "--epochs", "2")


@pytest.fixture(autouse=True)
def _threads_as_before():
    before = fb.get_num_threads()
    yield
    fb.set_num_threads(before)


@pytest.fixture
def run(capsys):
    """Run the command line in this process; gives status, standard output and standard error."""

    def run(*arguments):
        try:
            status = main([*map(str, arguments)])
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with 120 digits in every format that --data takes, and a network trained on them."""
    folder = tmp_path_factory.mktemp("data")
    x, y = (array[:120] for array in fb.datasets.load_digits())
    pixels = np.round(x * 255).astype(np.uint8).reshape(-1, 8, 8)
    np.savez(folder / "flat.npz", x=x, y=y)
    np.savez(folder / "images.npz", x=pixels, y=y)
    np.savez(folder / "nchw.npz", x=pixels[:, None], y=y)
    np.savez(folder / "float64.npz", x=x.astype(np.float64), y=y)
    np.savez(folder / "integers.npz", x=np.round(x * 16).astype(np.int16), y=y.astype(np.uint64))
    np.savez(folder / "onehot.npz", x=x, y=np.eye(10)[y])
    np.savez(folder / "unlabelled.npz", x=x)
    np.savez(folder / "none.npz", x=x[:0])
    for name, array in (("images", pixels), ("labels", y.astype(np.uint8))):
        head = bytes([0, 0, 0x08, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        (folder / f"{name}.idx").write_bytes(head + array.tobytes())
        (folder / f"{name}.gz").write_bytes(gzip.compress(head + array.tobytes()))
    status = main(["train", "--data", str(folder / "images.npz"), *SMALL, "--save", str(folder / "net.npz")])
    assert status == 0
    return folder


def epoch_lines(err: str) -> list[str]:
    return re.findall(r"^epoch +\d+/\d+ .*$", err, re.MULTILINE)


def matrix(out: str) -> np.ndarray:
    """The confusion matrix as printed, without its row and column of class numbers."""
    lines = out[out.index("confusion matrix") :].splitlines()[2:]
    return np.array([line.split()[1:] for line in lines[: lines.index("")]], int)


def probabilities(out: str) -> np.ndarray:
    return np.array([line.split("\t") for line in out.splitlines()], float)


@contextmanager
def program(*arguments: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The command line in a process of its own, which heeds Ctrl-C even where its parent was told not to."""
    start = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{start}; from fastbp.cli import main; sys.exit(main())", *map(str, arguments)]
    environment = {**os.environ, **environment}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


# --- train ------------------------------------------------------------------------------------------------------------


def test_train_learns_the_embedded_digits(run):
    status, out, err = run("train", "--epochs", "3")
    assert status == 0
    assert [line.split()[1] for line in epoch_lines(err)] == ["1/3", "2/3", "3/3"]
    assert all(
        re.search(r"loss [\d.]+  cost [\d.]+  val_loss [\d.]+  val_accuracy [\d.]+$", line) for line in epoch_lines(err)
    )
    assert "1438 samples to train on, 359 to test, 10 classes" in out
    counts = matrix(out)
    assert counts.shape == (10, 10)
    assert counts.sum() == 359
    accuracy = 100 * np.trace(counts) / 359
    assert accuracy > 90
    assert f"test accuracy {accuracy:.2f} %" in out
    assert f"val_accuracy {accuracy / 100:.4f}" in err.splitlines()[-1]


def test_the_defaults_follow_the_number_of_samples(run, data):
    _, out, err = run("train", "--data", data / "flat.npz", "--hidden", "4")
    # 3000 steps, 1 / 96
    assert "\n1000 epochs of 3 steps, learning rate 0.3 falling to 0, weight decay 0.0104\n" in out
    assert 51 <= len(epoch_lines(err)) < 100


def test_a_network_that_has_learned_nothing_gets_a_hint(run, tmp_path):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 80)
    np.savez(tmp_path / "far.npz", x=rng.normal(size=(80, 6)) * 100, y=y)
    arguments = "train", "--data", tmp_path / "far.npz", "--hidden", "8", "--epochs", "1", "--lr", "0.9"
    _, _, err = run(*arguments)
    assert "is not below that of guessing, 1.3" in err
    assert "try a smaller --lr (it was 0.9)" in err
    np.savez(tmp_path / "near.npz", x=np.eye(4)[y], y=y)
    assert "hint" not in run("train", "--data", tmp_path / "near.npz", "--epochs", "20")[2]


def test_train_prints_the_table_of_layers(run):
    _, out, _ = run("train", "--hidden", "7", "5", "--activation", "tanh", "--epochs", "1")
    names = [line.split("(")[0] for line in out.splitlines() if re.match(r"\w+\(", line)]
    assert names == ["Standardize", "Affine", "Tanh", "Affine", "Tanh", "Affine"]


@pytest.mark.parametrize("files", ["flat.npz", "images.npz", "nchw.npz", "images.gz labels.gz"])
def test_train_and_predict_with_a_convolutional_network(files, run, data, tmp_path):
    paths, saved = [data / name for name in files.split()], tmp_path / "cnn.npz"
    options = ["--model", "cnn", "--filters", "4", "6", "--hidden", "8", "--epochs", "2", "--save", saved]
    status, out, err = run("train", "--data", *paths, *options)
    assert status == 0
    assert len(epoch_lines(err)) == 2
    names = [line.split("(")[0] for line in out.splitlines() if re.match(r"\w+\(", line)]
    assert names == ["Standardize", *["Conv2d", "ReLU", "MaxPool2d"] * 2, "Flatten", "Affine", "ReLU", "Affine"]
    status, out, _ = run("predict", saved, "--data", paths[0])
    assert status == 0
    assert len(out.splitlines()) == 120


def test_a_convolutional_network_learns_the_embedded_digits(run):
    status, out, _ = run("train", "--model", "cnn", "--filters", "16", "--hidden", "32", "--epochs", "4")
    assert status == 0
    counts = matrix(out)
    assert np.trace(counts) > 0.9 * counts.sum()


@pytest.mark.parametrize(
    "files",
    [
        "flat.npz",
        "images.npz",
        "nchw.npz",
        "float64.npz",
        "integers.npz",
        "onehot.npz",
        "images.idx labels.idx",
        "images.gz labels.gz",
        "images.idx labels.gz",
    ],
)
def test_train_reads(files, run, data):
    status, out, err = run("train", "--data", *(data / name for name in files.split()), *SMALL)
    assert status == 0
    assert len(epoch_lines(err)) == 2
    assert "96 samples to train on, 24 to test, 10 classes" in out
    assert matrix(out).sum() == 24


def test_the_same_pixels_give_the_same_network_from_every_format(run, data):
    """uint8 images are divided by 255 wherever they come from; a channel axis and 1-of-K labels change nothing."""
    formats = (["images.npz"], ["nchw.npz"], ["images.idx", "labels.idx"], ["images.gz", "labels.gz"])
    errors = [run("train", "--data", *(data / name for name in files), *SMALL)[2] for files in formats]
    assert errors == errors[:1] * 4
    assert run("train", "--data", data / "flat.npz", *SMALL) == run("train", "--data", data / "float64.npz", *SMALL)


@pytest.mark.parametrize(
    ("option", "layers"),
    [
        (["--hidden"], ["Affine"]),
        (["--hidden", "9"], ["Affine", "ReLU", "Affine"]),
        (["--hidden", "9", "8", "--activation", "sigmoid"], ["Affine", "Sigmoid", "Affine", "Sigmoid", "Affine"]),
        (["--hidden", "9", "--activation", "leaky-relu"], ["Affine", "LeakyReLU", "Affine"]),
    ],
)
def test_train_builds(option, layers, run, data, tmp_path):
    assert run("train", "--data", data / "flat.npz", "--epochs", 1, *option, "--save", tmp_path / "n.npz")[0] == 0
    net = fb.Sequential.load(tmp_path / "n.npz")
    assert [type(layer).__name__ for layer in net.layers] == ["Standardize", *layers]
    assert net.input_shape == (64,)
    assert net.output_shape == (10,)


def test_images_are_flattened(run, data):
    assert fb.Sequential.load(data / "net.npz").input_shape == (8, 8)


@pytest.mark.parametrize(
    "option",
    [
        "--l2 0.01",
        "--lr 0.1",
        "--batch-size 7",
        "--dtype float64",
        "--seed 1",
        "--test 0.5",
        "--activation tanh",
        "--epochs 3",
    ],
)
def test_every_option_changes_the_result(option, run, data, tmp_path):
    def weights(*options):
        assert run("train", "--data", data / "flat.npz", *SMALL, *options, "--save", tmp_path / "n.npz")[0] == 0
        return [parameter.value for parameter in fb.Sequential.load(tmp_path / "n.npz").parameters()]

    assert not all(np.array_equal(a, b) for a, b in zip(weights(), weights(*option.split()), strict=True))


def test_options_reach_fit(run, data, tmp_path):
    """The printed values are those of the same training through the Python API."""
    options = ["--hidden", 6, "--activation", "sigmoid", "--lr", 0.3, "--l2", 0.001, "--batch-size", 10, "--epochs", 2]
    options += ["--test", 0.25, "--seed", 3, "--dtype", "float64", "--optimizer", "sgd", "--save", tmp_path / "n.npz"]
    _, _, err = run("train", "--data", data / "flat.npz", *options)
    with np.load(data / "flat.npz") as arrays:
        train, test = fb.datasets.split(arrays["x"].astype(float), arrays["y"], test=0.25, seed=3)
    layers = fb.Standardize.of(train[0], limit=5), fb.Affine(6), fb.Sigmoid(), fb.Affine(10)
    net = fb.Sequential(*layers, input_shape=64, dtype="float64", seed=3)
    loss, sgd = fb.SoftmaxCrossEntropy(), fb.SGD(lambda step: 0.3 * (1 - step / 18))  # 2 epochs of 9 steps
    history = net.fit(*train, loss=loss, optimizer=sgd, l2=0.001, batch_size=10, epochs=2, validation_data=test)
    line = "  ".join(f"{name} {values[-1]:.4f}" for name, values in history.items())
    assert epoch_lines(err)[-1] == f"epoch 2/2  {line}"
    for ours, saved in zip(net.parameters(), fb.Sequential.load(tmp_path / "n.npz").parameters(), strict=True):
        np.testing.assert_array_equal(ours.value, saved.value)


def test_the_same_seed_prints_the_same_for_every_number_of_threads(run, data):
    results = [run("train", "--data", data / "flat.npz", *SMALL, "--seed", 5, "--threads", n) for n in (1, 1, 2)]
    assert results[0][0] == 0
    assert results == results[:1] * 3


def test_threads_are_set(run, data):
    assert run("train", "--data", data / "flat.npz", *SMALL, "--threads", 1)[0] == 0
    assert fb.get_num_threads() == 1


def test_a_class_that_is_missing_from_the_test_set_has_its_row(run, tmp_path):
    np.savez(tmp_path / "d.npz", x=np.eye(5), y=[0, 1, 2, 3, 4])
    _, out, _ = run("train", "--data", tmp_path / "d.npz", "--test", "0.2", *SMALL)
    assert matrix(out).shape == (5, 5)
    assert matrix(out).sum() == 1


def test_train_overwrites_the_file_only_with_a_whole_network(run, data, tmp_path):
    path = tmp_path / "net.npz"
    path.write_text("old")
    status, out, _ = run("train", "--data", data / "flat.npz", *SMALL, "--save", path)
    assert status == 0
    assert out.splitlines()[-1] == f"saved {path}"
    assert fb.Sequential.load(path).output_shape == (10,)
    assert os.listdir(tmp_path) == ["net.npz"]


def test_a_disk_that_is_full_after_the_training_costs_no_network(run, data, tmp_path, monkeypatch):
    folder, other, replace = tmp_path / "folder", tmp_path / "other", os.replace
    folder.mkdir()
    other.mkdir()

    def full(source, target):
        if Path(target).parent == folder:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr(tempfile, "tempdir", str(other))
    status, out, err = run("train", "--data", data / "flat.npz", *SMALL, "--save", folder / "net.npz")
    (saved,) = other.iterdir()
    assert status == 1
    line = f"fastbp train: {folder / 'net.npz'}: No space left on device; the network is in {saved} instead"
    assert line in err.splitlines()
    assert out.splitlines()[-1] == f"saved {saved}"
    assert "test accuracy" in out
    assert fb.Sequential.load(saved).output_shape == (10,)
    assert os.listdir(folder) == []


def test_a_network_that_can_be_saved_nowhere(run, data, tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "other").mkdir()
    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "other"))
    status, _, err = run("train", "--data", data / "flat.npz", *SMALL, "--save", tmp_path / "net.npz")
    assert status == 2
    assert err.splitlines()[-1] == f"fastbp train: {tmp_path / 'net.npz'}: No space left on device"
    assert os.listdir(tmp_path) == ["other"]
    assert os.listdir(tmp_path / "other") == []


# --- predict ----------------------------------------------------------------------------------------------------------


def expected(data: Path) -> np.ndarray:
    with np.load(data / "images.npz") as arrays:
        return fb.Sequential.load(data / "net.npz").predict_proba(arrays["x"].astype(np.float32) / np.float32(255))


@pytest.mark.parametrize(
    "files", [["images.npz"], ["images.idx"], ["images.gz"], ["images.idx", "labels.idx"]], ids=" ".join
)
def test_predict_prints_one_class_per_line(files, run, data):
    status, out, err = run("predict", data / "net.npz", "--data", *(data / name for name in files))
    assert (status, err) == (0, "")
    assert out == "".join(f"{n}\n" for n in expected(data).argmax(1))


def test_predict_prints_probabilities(run, data):
    _, out, _ = run("predict", data / "net.npz", "--data", data / "images.npz", "--proba")
    p = probabilities(out)
    np.testing.assert_allclose(p, expected(data), rtol=1e-5)  # printed with six digits
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("proba", [True, False])
def test_predict_writes_a_file(proba, run, data, tmp_path):
    options = ["--proba"] if proba else []
    arguments = ["predict", data / "net.npz", "--data", data / "images.npz", "--out", tmp_path / "out.npz", *options]
    assert run(*arguments) == (0, "", "")
    with np.load(tmp_path / "out.npz") as arrays:
        assert set(arrays) == ({"classes", "probabilities"} if proba else {"classes"})
        np.testing.assert_array_equal(arrays["classes"], expected(data).argmax(1))
        if proba:
            np.testing.assert_array_equal(arrays["probabilities"], expected(data))


@pytest.mark.parametrize("y", [np.zeros(3, int), np.float64(5), np.array([{}])], ids=["short", "number", "objects"])
def test_predict_does_not_look_at_labels(y, run, data, tmp_path):
    with np.load(data / "images.npz") as arrays:
        np.savez(tmp_path / "odd.npz", x=arrays["x"], y=y)
    result = run("predict", data / "net.npz", "--data", tmp_path / "odd.npz")
    assert result == run("predict", data / "net.npz", "--data", data / "images.npz")
    assert result[0] == 0


def test_predict_needs_no_labels(run, data, tmp_path):
    run("train", "--data", data / "flat.npz", *SMALL, "--save", tmp_path / "n.npz")
    status, out, _ = run("predict", tmp_path / "n.npz", "--data", data / "unlabelled.npz", "--threads", 1)
    assert status == 0
    assert len(out.splitlines()) == 120


@pytest.mark.parametrize("option", [[], ["--proba"]])
def test_predict_without_samples_prints_nothing(option, run, data, tmp_path):
    fb.Sequential(fb.Affine(3), input_shape=64).save(tmp_path / "n.npz")
    assert run("predict", tmp_path / "n.npz", "--data", data / "none.npz", *option) == (0, "", "")


def test_one_output_is_binary(run, data, tmp_path):
    net = fb.Sequential(fb.Affine(1), input_shape=64, seed=0)
    net.save(tmp_path / "n.npz")
    _, out, _ = run("predict", tmp_path / "n.npz", "--data", data / "flat.npz", "--proba")
    p = probabilities(out)[:, 0]
    assert 0 < (p > 0.5).sum() < 120
    _, out, _ = run("predict", tmp_path / "n.npz", "--data", data / "flat.npz")
    np.testing.assert_array_equal(np.array(out.split(), int), p > 0.5)


# --- the program ------------------------------------------------------------------------------------------------------


def test_version(run):
    assert run("--version") == (0, f"fastbp {fb.__version__}\n", "")


@pytest.mark.parametrize("command", [[], ["train"], ["predict"], ["info"]])
def test_help(command, run):
    status, out, err = run(*command, "--help")
    assert (status, err) == (0, "")
    assert out.startswith("usage: fastbp")
    assert "None" not in out


def test_help_names_every_option_with_its_default(run):
    _, out, _ = run("train", "--help")
    for option in ("data", "hidden", "activation", "epochs", "batch-size", "optimizer", "lr", "l2", "dtype", "threads"):
        assert f"--{option}" in out
    text = " ".join(out.split())
    assert (
        "(default: 10 for mlp, 5 for cnn; more for small sets, to make 3000 steps for mlp, 1500 steps for cnn)" in text
    )
    assert "(default: 0.3 for mlp, 0.05 for cnn, less for inputs that are much alike or more hidden layers)" in text
    assert "(default: 1 / samples to train on)" in text


def test_python_m_fastbp_is_the_same_program():
    command = [sys.executable, "-m", "fastbp", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"fastbp {fb.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "required: {train,predict,info}"),
        (["tran"], "'tran'"),
        (["train", "--epoch"], "--epoch"),
        (["train", "--foo"], "--foo"),
        (["train", "extra"], "extra"),
        (["train", "--epochs", "0"], "--epochs: must be at least 1, got 0"),
        (["train", "--epochs", "1.5"], "--epochs: invalid integer value: '1.5'"),
        (["train", "--epochs", "-3"], "--epochs: must be at least 1, got -3"),
        (["train", "--batch-size", "0"], "--batch-size: must be at least 1"),
        (["train", "--batch-size", "x"], "--batch-size: invalid integer value: 'x'"),
        (["train", "--hidden", "0"], "--hidden: must be at least 1"),
        (["train", "--hidden", "9", "a"], "--hidden: invalid integer value: 'a'"),
        (["train", "--lr", "-1"], "--lr: must be finite and not negative"),
        (["train", "--lr", "nan"], "--lr: must be finite"),
        (["train", "--lr", "inf"], "--lr: must be finite"),
        (["train", "--lr", "fast"], "--lr: invalid number value: 'fast'"),
        (["train", "--l2", "-1"], "--l2: must be finite and not negative"),
        (["train", "--test", "0"], "--test: must be above 0 and below 1"),
        (["train", "--test", "1"], "--test: must be above 0 and below 1"),
        (["train", "--test", "nan"], "--test: must be above 0 and below 1"),
        (["train", "--seed", "-1"], "--seed: must not be negative"),
        (["train", "--threads", "0"], "--threads: must be at least 1"),
        (["train", "--threads", "100000"], "threads must be an integer from 1 to"),
        (["train", "--activation", "relo"], "'relo'"),
        (["train", "--optimizer", "adamant"], "'adamant'"),
        (["train", "--dtype", "float16"], "'float16'"),
        (["train", "--model", "rnn"], "'rnn'"),
        (["train", "--data"], "--data"),
        (["train", "--data", "a", "b", "c"], "one .npz file or two IDX files"),
        (["predict"], "network, --data"),
        (["predict", "net.npz"], "--data"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_arguments_are_one_line_and_status_2(arguments, reason, run):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert reason in err
    assert err.startswith("fastbp")


def test_a_run_that_diverges_is_status_1_and_one_line(run, data, tmp_path):
    path = tmp_path / "net.npz"
    path.write_text("old")
    status, out, err = run("train", "--data", data / "flat.npz", "--lr", "1e30", "--save", path)
    assert status == 1
    assert re.fullmatch(r"fastbp train: epoch 1, batch 2: the loss is (nan|inf); try a lower rate\n", err)
    assert "accuracy" not in out
    assert path.read_text() == "old"


def test_status_and_streams_of_the_process():
    with program("train", "--data", "nowhere.npz") as process:
        out, err = process.communicate()
    assert (process.returncode, out, len(err.splitlines())) == (2, "", 1)


def test_ctrl_c_ends_at_once_saves_and_is_status_130(tmp_path):
    path = tmp_path / "net.npz"
    with program("train", "--hidden", 16, "--lr", 0.1, "--epochs", 100_000, "--save", path) as process:
        epoch = 0
        while epoch < 2000:  # far enough that every later network classifies most digits right
            epoch = int(re.match(r"epoch +(\d+)/100000  loss ", process.stderr.readline())[1])
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    assert err.endswith("\ninterrupted\n")
    assert "Traceback" not in err
    assert out.splitlines()[-1] == f"saved {path}"
    x, y = fb.datasets.load_digits()
    assert fb.metrics.accuracy(y, fb.Sequential.load(path).predict(x).argmax(1)) > 0.5
    assert os.listdir(tmp_path) == ["net.npz"]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_ends_predict_without_a_traceback(unbuffered, data, tmp_path):
    """``fastbp predict | head -1``; with PYTHONUNBUFFERED, Python does not report the rest of one large write."""
    np.savez(tmp_path / "many.npz", x=np.zeros((100_000, 8, 8), np.float32))  # more output than a pipe holds
    arguments = ["predict", data / "net.npz", "--data", tmp_path / "many.npz"]
    with program(*arguments, PYTHONUNBUFFERED=unbuffered) as process:
        assert process.stdout.readline().strip().isdigit()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_a_closed_pipe_ends_train_without_a_traceback(data):
    with program("train", "--data", data / "flat.npz", *SMALL) as process:
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 1
    assert not re.search("Traceback|Exception|Error", err)


def test_a_reader_of_the_progress_that_leaves_costs_no_training(data, tmp_path):
    """``fastbp train --save net.npz 2>&1 | head -1`` still writes the network."""
    with program("train", "--data", data / "flat.npz", "--epochs", 200, "--save", tmp_path / "net.npz") as process:
        assert process.stderr.readline().startswith("epoch")
        process.stderr.close()
        process.stdout.read()
    assert (tmp_path / "net.npz").exists()


@pytest.mark.skipif(os.name == "nt", reason="closing a standard stream before the start is a habit of Unix shells")
@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_standard_stream_may_be_closed_from_the_start(closed, data, tmp_path):
    path = tmp_path / "net.npz"
    arguments = " ".join(["train", "--data", str(data / "flat.npz"), *SMALL, "--save", str(path)])
    command = f"exec '{sys.executable}' -m fastbp {arguments} {closed}"
    result = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in result.stderr
    assert path.exists()


# --- pipes ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists("/dev/stdin"), reason="no name for standard input on this system")
@pytest.mark.parametrize("name", ["images.npz", "images.gz", "images.idx"])
def test_predict_reads_standard_input(name, run, data):
    command = [sys.executable, "-m", "fastbp", "predict", data / "net.npz", "--data", "/dev/stdin"]
    with open(data / name, "rb") as file, subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE) as cat:
        result = subprocess.run(command, stdin=cat.stdout, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == run("predict", data / "net.npz", "--data", data / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_ctrl_c_ends_the_waiting_for_a_pipe(data, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    arguments = "predict", data / "net.npz", "--data", tmp_path / "pipe"
    with program(*arguments) as process, open(tmp_path / "pipe", "wb"):  # waits until the other end is open
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert (process.returncode, err) == (130, "\ninterrupted\n")


# --- before it starts -------------------------------------------------------------------------------------------------

SCRIPT = "import sys\nfrom fastbp.__main__ import main\nsys.exit(main())\n"  # as the one that pip makes
INTERRUPT = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise SystemExit('went on')\n"
HEED = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.executable, sys.argv[1:])"


@pytest.fixture
def start(tmp_path):
    """Start a script called ``fastbp``, or with ``-m`` the module; modules in ``stubs`` come before others."""

    def start(*arguments, script=SCRIPT, stubs=(), **environment):
        (tmp_path / "fastbp").write_text(script)
        (tmp_path / "stubs").mkdir()
        for name, text in dict(stubs).items():
            (tmp_path / "stubs" / f"{name}.py").write_text(text)
        program = arguments if arguments[0] == "-m" else [tmp_path / "fastbp", *arguments]
        root = Path(fb.__file__).parents[1]
        environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'stubs'}{os.pathsep}{root}", **environment}
        command = [sys.executable, "-c", HEED, sys.executable, *map(str, program)]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    return start


@pytest.mark.skipif(os.name == "nt", reason="signals are those of Unix")
@pytest.mark.parametrize("stub", ["numpy", "llvmlite", "numba", "tqdm"])
@pytest.mark.parametrize("arguments", [["info"], ["-m", "fastbp", "info"]], ids=["fastbp", "python -m fastbp"])
def test_ctrl_c_while_it_is_imported(arguments, stub, start):
    result = start(*arguments, stubs={stub: INTERRUPT})
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "\ninterrupted\n")


def test_ctrl_c_anywhere_else_before_it_starts(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupted)
    assert entry.main() == 130
    assert capsys.readouterr().err == "\ninterrupted\n"


@pytest.mark.parametrize("script", ["import fastbp", "import fastbp.cli"])
def test_programs_that_only_import_the_package_keep_their_signals(script, start):
    check = "import signal, sys; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler,"
    check += "sys.excepthook is sys.__excepthook__)"
    assert start("info", script=f"{script}\n{check}").stdout == "True True\n"
    code = f"import signal\nbefore = signal.getsignal(signal.SIGINT)\n{script}\n"
    code += "assert signal.getsignal(signal.SIGINT) is before"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("arguments", [["info"], ["-m", "fastbp", "info"]], ids=["fastbp", "python -m fastbp"])
def test_an_environment_in_which_it_cannot_start(arguments, start):
    result = start(*arguments, NUMBA_DISABLE_JIT="1")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == ("fastbp: cannot start: the kernels exist in compiled form only; unset NUMBA_DISABLE_JIT\n")


def test_bad_settings_of_what_it_imports(start):
    result = start("info", stubs={"tqdm": "raise ValueError('two\\nlines')\n"})
    assert (result.returncode, result.stderr) == (1, "fastbp: cannot start: two lines\n")
