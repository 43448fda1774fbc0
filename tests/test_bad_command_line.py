"""Bad input through the command line: one line, exit status 2, no traceback."""

import errno
import os
import shutil
import sys
import warnings
import zipfile

import numpy as np
import pytest
from bad_input import NAN, ONE_OF_K, X, Y, with_value

import fastbp as fb
from fastbp.cli import main

BYTE = pytest.param("\udcff", marks=pytest.mark.skipif(sys.platform != "linux", reason="names are text on this system"))
COLUMN_4 = np.arange(60) == 4
BAD_DATA = {
    "nothing": ({"x": X[:0], "y": Y[:0]}, "no samples"),
    "one sample": ({"x": X[:1], "y": Y[:1]}, "at least 2 samples"),
    "no y": ({"x": X}, "has no array 'y'; it holds x"),
    "no x": ({"y": Y}, "has no array 'x'; it holds y"),
    "no arrays": ({}, "has no array 'x'; it holds none"),
    "lengths": ({"x": X[:50], "y": Y}, "same length"),
    "x number": ({"x": 3.0, "y": Y}, "x must have samples"),
    "no features": ({"x": X[:, :0], "y": Y}, "x "),
    "NaN": ({"x": with_value(X, 4, NAN), "y": Y}, "x must be finite, but row 4 holds nan"),
    "NaN in the test set": ({"x": with_value(X, 16, NAN), "y": Y}, "x must be finite, but row 16 holds nan"),
    "infinite": ({"x": with_value(X.astype(float), 4, np.inf), "y": Y}, "x must be finite, but row 4 holds inf"),
    "complex": ({"x": X + 0j, "y": Y}, "x must hold real numbers, got dtype complex64"),
    "objects": ({"x": X.astype(object), "y": Y}, "x holds Python objects"),
    "text": ({"x": X.astype(str), "y": Y}, "x must hold real numbers, got dtype <U"),
    "float labels": ({"x": X, "y": Y * 1.0}, "y must hold class indices (integers) or 1-of-K rows, got float64"),
    "negative label": ({"x": X, "y": np.where(COLUMN_4, -1, Y)}, "labels must not be negative, but row 4 has -1"),
    "huge label": ({"x": X, "y": np.where(COLUMN_4, 10**12, Y)}, "1000000000000"),
    "unsigned label": ({"x": X, "y": np.where(COLUMN_4, 2**64 - 1, Y.astype("u8"))}, "18446744073709551615"),
    "column of labels": ({"x": X, "y": Y[:, None]}, "(60, 1)"),
    "1-of-K sum": ({"x": X, "y": with_value(ONE_OF_K, 4, 0.5)}, "sum to 1, but row 4 sums to 1.5"),
    "rank of y": ({"x": X, "y": ONE_OF_K[:, None]}, "(60, 1, 10)"),
}


@pytest.fixture
def failing(capfd):
    """Run a command line that must fail; gives its one line on standard error."""

    def run(*arguments):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            status = main([*map(str, arguments)])
        err = capfd.readouterr().err
        assert not caught  # each would be further lines on standard error
        assert status == 2, err
        assert len(err.splitlines()) == 1, err
        assert err.startswith(f"fastbp {arguments[0]}: ")
        return err

    return run


@pytest.mark.parametrize(("arrays", "message"), BAD_DATA.values(), ids=BAD_DATA)
def test_train_refuses_data(arrays, message, failing, tmp_path):
    np.savez(tmp_path / "data.npz", **arrays)
    assert message in failing("train", "--data", tmp_path / "data.npz", "--hidden", 4, "--epochs", 1)


BAD_SAMPLES_TO_PREDICT = {
    "features": ({"x": X[:, :63]}, "x must have the shape (N, 64), got (60, 63)"),
    "rank": ({"x": X.reshape(60, 8, 8)}, "x must have the shape (N, 64), got (60, 8, 8)"),
    "no x": ({"y": Y}, "has no array 'x'; it holds y"),
    "complex": ({"x": X + 0j}, "x must hold real numbers"),
    "objects": ({"x": X.astype(object)}, "x holds Python objects"),
}


@pytest.mark.parametrize(("arrays", "message"), BAD_SAMPLES_TO_PREDICT.values(), ids=BAD_SAMPLES_TO_PREDICT)
def test_predict_refuses_data(arrays, message, failing, saved, tmp_path):
    np.savez(tmp_path / "data.npz", **arrays)
    assert message in failing("predict", saved, "--data", tmp_path / "data.npz")


ODD_MEMBERS = {"text": b"hello", "nothing": b"", "broken header": b"\x93NUMPY\1\0\x05\0{{{{\n"}


@pytest.mark.parametrize("content", ODD_MEMBERS.values(), ids=ODD_MEMBERS)
@pytest.mark.parametrize("name", ["x", "y"])
def test_members_that_are_no_arrays(name, content, failing, saved, good, tmp_path):
    path = tmp_path / "odd.npz"
    np.savez(path, **{key: array for key, array in {"x": X, "y": Y}.items() if key != name})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{name}.npy", content)
    assert "odd.npz is no readable .npz file" in failing("train", "--data", path, "--hidden", 4, "--epochs", 1)
    if name == "x":
        assert "odd.npz is no readable .npz file" in failing("predict", saved, "--data", path)


@pytest.fixture
def good(tmp_path):
    np.savez(tmp_path / "good.npz", x=X, y=Y)
    return tmp_path / "good.npz"


def test_files_that_are_not_there_are_named_as_such(failing, saved, good, tmp_path):
    missing = tmp_path / "missing.npz"
    for arguments in (
        ("train", "--data", missing),
        ("train", "--data", missing, missing),
        ("predict", missing, "--data", good),
        ("predict", saved, "--data", missing),
    ):
        assert f"{missing}: No such file or directory" in failing(*arguments)
    assert "Is a directory" in failing("train", "--data", tmp_path)


@pytest.mark.parametrize("keep", [0, 10, 0.5, -1])
def test_truncated_files(keep, failing, saved, good, tmp_path):
    broken = tmp_path / "broken.npz"
    for source in (good, saved):
        whole = source.read_bytes()
        broken.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
        command = ("train", "--data", broken) if source is good else ("predict", broken, "--data", good)
        assert "broken.npz" in failing(*command)


def test_foreign_files(failing, saved, good):
    assert "is not a network saved by fastbp" in failing("predict", good, "--data", good)
    assert "has no array 'x'" in failing("train", "--data", saved)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0\0\x08", id="three bytes"),
        pytest.param(b"\0\0\x07\1\0\0\0\1x", id="unknown type"),
        pytest.param(b"\0\0\x08\1\0\0\0\2x", id="too short"),
        pytest.param(b"\0\0\x08\1\0\0\0\1xx", id="too long"),
        pytest.param(b"\0\0\x08\2\0\0\0\1", id="header cut off"),
        pytest.param(b"\0\0\x08\xff" + 255 * b"\0\0\0\1" + b"x", id="255 dimensions"),
        pytest.param(b"\0\0\x08\3" + 2 * b"\xff\xff\xff\xff" + b"\0\0\0\0", id="huge and empty"),
        pytest.param(b"\x1f\x8b", id="gzip cut off"),
        pytest.param(b"\x1f\x8b" + 30 * b"x", id="gzip damaged"),
    ],
)
def test_damaged_idx_files(content, failing, tmp_path):
    (tmp_path / "images").write_bytes(content)
    (tmp_path / "labels").write_bytes(b"\0\0\x08\1\0\0\0\1\0")
    assert str(tmp_path / "images") in failing("train", "--data", tmp_path / "images", tmp_path / "labels")


@pytest.mark.parametrize("units", [10**12, 10**30])
def test_huge_networks(units, failing, good):
    err = failing("train", "--data", good, "--hidden", units, "--epochs", 1)
    assert f"Affine({units}) on samples (64,): not enough memory, its parameters take {256 * units:,} bytes" in err


@pytest.mark.parametrize(
    "place", ["none/net.npz", "good.npz/net.npz", ".", "circle", "circle/net.npz", pytest.param("n" * 256, id="long")]
)
@pytest.mark.parametrize("command", ["train", "predict"])
def test_places_that_cannot_be_written_are_refused_before_the_work(command, place, failing, good, saved, tmp_path):
    whole = good.read_bytes()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    place = tmp_path / place
    if command == "train":
        err = failing("train", "--data", good, "--epochs", 10**9, "--save", place)
    else:
        err = failing("predict", saved, "--data", good, "--out", place)
    assert str(place) in err
    assert good.read_bytes() == whole


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc, the folder that not even root can write to")
def test_a_folder_that_only_seems_writable_is_refused_before_the_work(failing, good):
    """To root every folder seems writable; a file system may still refuse, and then the training must not be lost."""
    assert "/proc/net.npz" in failing("train", "--data", good, "--hidden", 4, "--epochs", 1, "--save", "/proc/net.npz")


@pytest.mark.parametrize("name", ["", "-", ".", "none\n/net.npz", "\x1b[2J/net.npz", "\udcff/net.npz", os.devnull])
@pytest.mark.parametrize("option", ["--save", "--out"])
def test_names_of_no_file(name, option, failing, good, saved, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    before = sorted(os.listdir())
    if option == "--save":
        err = failing("train", "--data", good, "--hidden", 4, "--epochs", 10**9, "--save", name)
    else:
        err = failing("predict", saved, "--data", good, "--out", name)
    assert err[:-1].isprintable()
    assert sorted(os.listdir()) == before


def test_odd_letters_in_arguments_make_one_line(capsys):
    for arguments in (["train", "a\nb"], ["a\nb"], ["train", "--lr", "a\nb"]):
        with pytest.raises(SystemExit):
            main(arguments)
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1
        assert err[:-1].isprintable()


@pytest.mark.parametrize("data", ["", "-", "a\nb", BYTE])
def test_names_of_no_data(data, failing, saved, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert "No such file or directory" in failing("train", "--data", data)
    assert "No such file or directory" in failing("predict", saved, "--data", data)
    assert "No such file or directory" in failing("predict", data, "--data", saved)


def test_a_full_disk_is_noticed_before_the_training(failing, good, tmp_path, monkeypatch):
    path = tmp_path / "net.npz"
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(2000, 1000, 1000))
    err = failing("train", "--data", good, "--hidden", 4, "--epochs", 10**9, "--save", path)
    assert f"{path}: No space left on device: 1,240 bytes are needed, 1,000 are free" in err  # 4 (65 4 + 5 10)

    def fsync(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    err = failing("train", "--data", good, "--hidden", 4, "--epochs", 10**9, "--save", path)
    assert f"{path}: cannot be written, No space left on device" in err
    assert sorted(os.listdir(tmp_path)) == ["good.npz"]


def test_numbers_that_are_too_large_for_the_kernels(failing, good, saved, monkeypatch):
    def predict_proba(*arguments, **options):
        raise OverflowError("Python int too large to convert to C long")

    monkeypatch.setattr(fb.Sequential, "predict_proba", predict_proba)
    assert "Python int too large" in failing("predict", saved, "--data", good)


def test_a_failed_out_leaves_the_old_file_whole(failing, good, saved, tmp_path, monkeypatch):
    shutil.copy(good, tmp_path / "out.npz")
    whole = good.read_bytes()

    def write_array(file, *arguments, **options):
        file.write(b"PK")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np.lib.format, "write_array", write_array)
    assert "out.npz: No space left on device" in failing(
        "predict", saved, "--data", good, "--out", tmp_path / "out.npz"
    )
    assert (tmp_path / "out.npz").read_bytes() == whole


def test_an_impossible_number_of_threads_in_the_environment(failing, good, monkeypatch):
    from fastbp.kernels import _runtime

    monkeypatch.setitem(_runtime._state, "team", 0)
    monkeypatch.setenv("FASTBP_NUM_THREADS", "many")
    assert "FASTBP_NUM_THREADS must be an integer from 1 to" in failing("info")
