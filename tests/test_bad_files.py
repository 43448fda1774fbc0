"""Damaged and foreign network files are refused without running anything; a failed save loses nothing."""

import errno
import os

import numpy as np
import pytest
from bad_input import assert_same_weights, make_net

import fastbp as fb


@pytest.mark.parametrize("keep", [0, 1, 4, 100, 0.5, 0.9, -1])
def test_truncated_networks(keep, saved):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match=r"net.npz is not a network saved by fastbp, or is damaged"):
        fb.Sequential.load(saved)


def test_every_flipped_byte_is_noticed_or_harmless(tmp_path):
    """Zip keeps a checksum of the contents; of its own headers it does not, and they make zipfile raise all sorts."""
    path, damaged = tmp_path / "net.npz", tmp_path / "damaged.npz"
    net = fb.Sequential(fb.Affine(1), input_shape=1, seed=0)
    net.save(path)
    whole = path.read_bytes()
    for i in range(len(whole)):
        damaged.write_bytes(whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :])
        try:
            loaded = fb.Sequential.load(damaged)
        except ValueError as error:
            assert "damaged.npz is not a network saved by fastbp" in str(error)  # noqa: PT017
        else:
            assert_same_weights(loaded, net)


def foreign(path, **changes):
    """The file with some of its arrays changed, or taken out with None."""
    with np.load(path) as archive:
        arrays = {**archive, **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": None}, "config is missing"),
        ({"config": np.array("{")}, "damaged"),
        ({"config": np.array("[]")}, "no fastbp configuration"),
        ({"config": np.array("[" * 100_000)}, "damaged"),
        ({"config": np.zeros(3)}, "damaged"),
        ({"config": np.array([{}])}, "damaged"),
        ({"affine_1.w": None}, "affine_1.w is missing"),
        ({"affine_1.w": np.zeros((3, 3))}, r"affine_1.w must have the shape \(8, 64\), got \(3, 3\)"),
        ({"affine_1.w": np.zeros((8, 64), complex)}, "damaged: .*(real|complex)"),
        ({"affine_1.w": np.full((8, 64), "1")}, "damaged"),
        ({"more": np.zeros(3)}, "unknown arrays more"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_foreign_archives(changes, message, saved):
    foreign(saved, **changes)
    with pytest.raises(ValueError, match=message):
        fb.Sequential.load(saved)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"version": 1', '"version": 99'),
        ('"float32"', '"int8"'),
        ('"float32"', '"foo"'),
        ('"float32"', "null"),
        ('"ReLU"', '"NoSuchLayer"'),
        ('"n": 8', '"n": -8'),
        ('"n": 8', '"n": 1000000000000'),
        ('"n": 8', '"m": 8'),
        ("[64]", "null"),
        ('"PCG64"', '"MT19937"'),
    ],
)
def test_foreign_configurations(old, new, saved):
    with np.load(saved) as archive:
        config = str(archive["config"])
    assert old in config
    foreign(saved, config=np.array(config.replace(old, new)))
    with pytest.raises(ValueError, match="not a network saved by fastbp, or is damaged"):
        fb.Sequential.load(saved)


@pytest.mark.parametrize("content", [b"", b"hello\n", b"PK\x03\x04", b"\x93NUMPY", b"\x80\x04]."])
def test_files_that_are_no_archive(content, tmp_path):
    path = tmp_path / "file.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"file.npz is not a network saved by fastbp") as caught:
        fb.Sequential.load(path)
    assert "allow_pickle" not in str(caught.value)  # no advice to load a foreign file unsafely
    with pytest.raises(ValueError, match=r"file.npz is no readable .npz file") as caught:
        fb.datasets.read_npz(path)
    assert "allow_pickle" not in str(caught.value)


def test_loading_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        fb.Sequential.load(tmp_path / "none.npz")
    with pytest.raises(IsADirectoryError):
        fb.Sequential.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("none/net.npz", FileNotFoundError),
        ("file/net.npz", NotADirectoryError),
        (".", IsADirectoryError),
        pytest.param("n" * 300, OSError, id="long name"),
    ],
)
def test_saving_where_no_file_can_be(name, error, tmp_path):
    (tmp_path / "file").write_text("whole")
    with pytest.raises(error) as caught:
        make_net().save(tmp_path / name)
    assert caught.value.filename == str(tmp_path / name)
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "whole"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc, the folder that not even root can write to")
def test_saving_into_a_folder_that_cannot_be_written():
    with pytest.raises(OSError, match=r"/proc/net.npz"):
        make_net().save("/proc/net.npz")


def test_the_old_file_stays_whole_in_a_read_only_folder(saved):
    whole = saved.read_bytes()
    saved.parent.chmod(0o500)
    try:
        if os.access(saved.parent, os.W_OK):
            pytest.skip("this user, such as root, writes into read-only folders")
        with pytest.raises(PermissionError):
            make_net(seed=1).save(saved)
    finally:
        saved.parent.chmod(0o700)
    assert saved.read_bytes() == whole
    assert os.listdir(saved.parent) == ["net.npz"]


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_the_old_file_stays_whole_when_the_disk_is_full(function, saved, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    whole = saved.read_bytes()
    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match=r"No space left on device.*net.npz"):
        make_net(seed=1).save(saved)
    monkeypatch.undo()
    assert saved.read_bytes() == whole
    assert os.listdir(saved.parent) == ["net.npz"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_what_is_no_regular_file_is_not_replaced(tmp_path):
    """Saving to a named pipe, or to /dev/null, must not put a regular file in its place."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe"):
        make_net().save(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()
