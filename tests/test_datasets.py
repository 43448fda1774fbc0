"""The embedded digits, splitting, and the readers of .npz and IDX files."""

import contextlib
import gzip
import os
import struct
import threading
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import fastbp as fb

read, read_idx, read_npz, split = fb.datasets.read, fb.datasets.read_idx, fb.datasets.read_npz, fb.datasets.split
TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
VALUES = np.array([[0, 1, 2], [100, 101, 127]])


def idx(array, code=0x08):
    """The bytes of an IDX file."""
    array = np.asarray(array)
    head = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(TYPES[code]).tobytes()


# --- digits -----------------------------------------------------------------------------------------------------------


def test_digits():
    x, y = fb.datasets.load_digits()
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((1797, 64), np.float32, (1797,), np.int64)
    assert (x.min(), x.max()) == (0, 1)
    np.testing.assert_array_equal(x * 16, np.round(x * 16))
    # published counts of the test set of the UCI data set
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    first = [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]
    np.testing.assert_array_equal(x[0, :16] * 16, first)
    assert y[:10].tolist() == list(range(10))


def test_digits_are_new_arrays():
    x, y = fb.datasets.load_digits()
    x[:], y[:] = 5, 5
    again, labels = fb.datasets.load_digits()
    assert again.max() == 1
    assert labels.max() == 9


def test_digits_file_is_small_and_names_source_and_licence():
    folder = resources.files("fastbp.datasets")
    assert len(folder.joinpath("digits.npz").read_bytes()) < 100_000
    for text in (folder.joinpath("README.md").read_text(), fb.datasets.load_digits.__doc__):
        assert "UCI Machine Learning Repository" in text
        assert "CC BY 4.0" in text
        assert "Alpaydin" in text


# --- split ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "test", "expected"), [(10, 0.2, 2), (1797, 0.2, 359), (2, 0.01, 1), (3, 0.99, 2)])
def test_split_keeps_pairs_and_loses_none(n, test, expected):
    x, y = np.arange(2 * n).reshape(n, 2), np.arange(n)
    (x_train, y_train), (x_test, y_test) = split(x, y, test=test)
    assert len(x_test) == len(y_test) == expected
    np.testing.assert_array_equal(np.sort(np.concatenate([y_train, y_test])), y)
    np.testing.assert_array_equal(x_train, x[y_train])
    np.testing.assert_array_equal(x_test, x[y_test])
    assert not np.shares_memory(x_train, x)


def test_split_depends_on_the_seed_alone():
    y = np.arange(100)
    one, again, other = (split(y, y, seed=seed)[1][1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert (split(y, y, seed=None)[1][1] != split(y, y, seed=None)[1][1]).any()


def test_split_arguments():
    with pytest.raises(ValueError, match="same length"):
        split(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="at least 2 samples"):
        split(np.zeros(1), np.zeros(1))
    with pytest.raises(ValueError, match="no samples"):
        split([], [])
    for share in (0, 1, 1.5, -0.2, float("nan")):
        with pytest.raises(ValueError, match="test must be"):
            split(np.zeros(5), np.zeros(5), test=share)
    with pytest.raises(ValueError, match="first dimension"):
        split(1.0, 1.0)


# --- npz --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_read_npz(tmp_path, save):
    save(tmp_path / "data.npz", x=VALUES, other=np.array(["text"]))
    for path in (tmp_path / "data.npz", str(tmp_path / "data.npz")):
        arrays = read_npz(path)
        assert sorted(arrays) == ["other", "x"]
        np.testing.assert_array_equal(arrays["x"], VALUES)


def test_read_npz_refuses_damaged_files(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.arange(1000))
    whole = path.read_bytes()
    for damaged in (b"", whole[:-30], whole[: len(whole) // 2], b"PK\3\4" + bytes(50), bytes(range(256))):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"data\.npz is no readable \.npz file"):
            read_npz(path)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(ValueError, match=r"no readable \.npz file.*CRC"):
        read_npz(path)
    np.save(tmp_path / "single.npy", VALUES)
    with pytest.raises(ValueError, match="does not start like one"):
        read_npz(tmp_path / "single.npy")
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "none.npz")


def test_read_npz_with_any_byte_changed(tmp_path):
    """Each change is noticed with a ValueError, or it is in bytes without meaning."""
    path = tmp_path / "data.npz"
    np.savez(path, x=np.arange(4))
    whole = path.read_bytes()
    for i in range(len(whole)):
        flipped = bytearray(whole)
        flipped[i] ^= 0xFF
        path.write_bytes(flipped)
        with contextlib.suppress(ValueError):
            read_npz(path)


def test_read_npz_runs_no_code(tmp_path):
    class Harm:
        def __reduce__(self):
            return Path.touch, (tmp_path / "touched",)

    objects = np.empty(1, object)
    objects[0] = Harm()
    np.savez(tmp_path / "data.npz", x=objects)
    with pytest.raises(ValueError, match="x holds Python objects"):
        read_npz(tmp_path / "data.npz")
    assert not (tmp_path / "touched").exists()


# --- idx --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("code", TYPES)
def test_read_idx(tmp_path, code, pack):
    values = VALUES * (-1 if code not in (0x08,) else 1)
    (tmp_path / "images").write_bytes(pack(idx(values, code)))
    array = read_idx(tmp_path / "images")
    np.testing.assert_array_equal(array, values)
    assert array.dtype == np.dtype(TYPES[code]).newbyteorder("=")
    assert array.dtype.isnative
    assert array.flags.writeable


@pytest.mark.parametrize("shape", [(), (0,), (4,), (2, 0, 3), (0, 28, 28), (2, 3, 1, 2)])
def test_read_idx_shapes(tmp_path, shape):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    (tmp_path / "f").write_bytes(idx(array))
    np.testing.assert_array_equal(read_idx(tmp_path / "f"), array)
    assert read_idx(tmp_path / "f").shape == shape


def test_read_idx_refuses_foreign_and_damaged_files(tmp_path):
    path = tmp_path / "images"
    good = idx(VALUES)

    def refused(data, match):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=match) as caught:
            read_idx(path)
        assert "images" in str(caught.value)

    refused(b"", "no IDX file: it starts with nothing")
    refused(b"\0\0\x08", "no IDX file")
    refused(b"\x89PNG....", "no IDX file: it starts with 89 50 4e 47")
    refused(b"\0\0\x0a\1" + bytes(8), "no IDX file")
    refused(good[:7], "cut off: its header has 2 dimensions")
    refused(good[:-1], r"should hold 6 bytes for the shape \(2, 3\), but holds 5")
    refused(good + b"\0", "but holds more")
    refused(gzip.compress(good + bytes(9)), "but holds more")
    refused(bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1), "but holds 0")
    refused(gzip.compress(good)[:-4], "no readable gzip file")
    refused(gzip.compress(good)[:12] + bytes(20), "no readable gzip file")
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "none")


def test_read_idx_of_more_dimensions_than_numpy_has(tmp_path):
    (tmp_path / "images").write_bytes(bytes([0, 0, 8, 100]) + struct.pack(">100I", *[1] * 100) + b"\0")
    with pytest.raises(ValueError, match="images"):
        read_idx(tmp_path / "images")


# --- read -------------------------------------------------------------------------------------------------------------


def test_read_one_npz_or_two_idx_files(tmp_path):
    images, labels = VALUES.astype(np.uint8).reshape(2, 3, 1), np.array([3, 4], np.uint8)
    np.savez(tmp_path / "data.npz", x=images, y=labels)
    (tmp_path / "images").write_bytes(idx(images))
    (tmp_path / "labels.gz").write_bytes(gzip.compress(idx(labels)))
    for paths in ([tmp_path / "data.npz"], [tmp_path / "images", str(tmp_path / "labels.gz")]):
        x, y = read(paths)
        assert x.dtype == np.float32
        np.testing.assert_array_equal(x, images.astype(np.float32) / np.float32(255))
        np.testing.assert_array_equal(y, labels)
    x, y = read([tmp_path / "images"], labels=False)
    assert (x.shape, y) == ((2, 3, 1), None)


def test_read_leaves_other_dtypes_as_they_are(tmp_path):
    np.savez(tmp_path / "data.npz", x=VALUES * 1.5)
    x, y = read([tmp_path / "data.npz"], labels=False)
    np.testing.assert_array_equal(x, VALUES * 1.5)
    assert (x.dtype, y) == (np.float64, None)


def test_read_refuses(tmp_path):
    np.savez(tmp_path / "data.npz", images=VALUES)
    np.savez(tmp_path / "short.npz", x=VALUES, y=[1])
    np.savez(tmp_path / "scalar.npz", x=1.0, y=[1])
    (tmp_path / "images").write_bytes(idx(VALUES))
    (tmp_path / "labels").write_bytes(idx([1, 2, 3]))
    for paths, match in [
        (["data.npz"], "has no array 'x'; it holds images"),
        (["short.npz"], r"same length, got shapes \(2, 3\) and \(1,\)"),
        (["scalar.npz"], "first dimension"),
        (["data.npz", "labels"], "not both"),
        (["images"], "needs two files"),
        (["images", "labels"], r"same length, got shapes \(2, 3\) and \(3,\)"),
        ([], "got 0 files"),
        (["images"] * 3, "got 3 files"),
    ]:
        with pytest.raises(ValueError, match=match):
            read([tmp_path / name for name in paths])


@pytest.mark.parametrize("labels", [True, False])
def test_read_of_a_missing_file(tmp_path, labels):
    for name in ("none", "none.npz"):
        with pytest.raises(FileNotFoundError):
            read([tmp_path / name], labels=labels)


def test_one_path_is_one_file(tmp_path):
    np.savez(tmp_path / "data.npz", x=VALUES, y=[1, 2])
    path = tmp_path / "data.npz"

    class Named:
        def __fspath__(self):
            return str(path)

    for paths in (str(path), path, Named(), os.fsencode(path), [path], (str(path),), [os.fsencode(path)]):
        x, y = read(paths)
        np.testing.assert_array_equal(x, VALUES)
        assert y.tolist() == [1, 2]


@pytest.mark.parametrize("paths", [None, 3, {"data.npz"}, {"data.npz": 1}, iter(["data.npz"]), [3], [None, "labels"]])
def test_what_is_no_path(paths):
    with pytest.raises(TypeError, match=r"path|PathLike"):
        read(paths)


@pytest.mark.parametrize("y", [[1], [1, 2, 3], 5, np.array([{}, {}])], ids=["short", "long", "number", "objects"])
def test_labels_that_nobody_needs_are_not_looked_at(y, tmp_path):
    np.savez(tmp_path / "data.npz", x=VALUES, y=y)
    x, labels = read(tmp_path / "data.npz", labels=False)
    np.testing.assert_array_equal(x, VALUES)
    assert labels is None
    (tmp_path / "images").write_bytes(idx(VALUES))
    (tmp_path / "labels").write_bytes(b"no labels")
    x, labels = read([tmp_path / "images", tmp_path / "labels"], labels=False)
    assert (x.shape, labels) == ((2, 3), None)


# --- pipes ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
@pytest.mark.parametrize("files", ["npz", "idx", "gz"])
def test_read_from_pipes(files, tmp_path):
    np.savez(tmp_path / "data.npz", x=VALUES, y=[1, 2])
    contents = {
        "npz": [(tmp_path / "data.npz").read_bytes()],
        "idx": [idx(VALUES, 0x0C), idx([1, 2])],
        "gz": [gzip.compress(idx(VALUES, 0x0C)), gzip.compress(idx([1, 2]))],
    }[files]
    pipes = [tmp_path / f"pipe {i}" for i in range(len(contents))]
    for pipe in pipes:
        os.mkfifo(pipe)
    writers = [
        threading.Thread(target=pipe.write_bytes, args=(data,)) for pipe, data in zip(pipes, contents, strict=True)
    ]
    for writer in writers:
        writer.start()
    x, y = read(pipes)
    for writer in writers:
        writer.join()
    np.testing.assert_array_equal(x, VALUES)
    assert y.tolist() == [1, 2]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_that_is_no_data_is_not_read_to_its_end(tmp_path):
    """It may have none."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    stopped = threading.Event()

    def write():
        with contextlib.suppress(BrokenPipeError), pipe.open("wb") as file:
            while True:
                file.write(b"y\n" * 1000)
        stopped.set()

    writer = threading.Thread(target=write)
    writer.start()
    with pytest.raises(ValueError, match=r"pipe is neither an \.npz nor an IDX file: it starts with 79 0a"):
        read(pipe, labels=False)
    writer.join()
    assert stopped.is_set()
