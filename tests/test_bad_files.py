"""Damaged and foreign files are refused without running anything or filling the memory; a failed save loses nothing."""

import errno
import gzip
import os
import tracemalloc
import zipfile

import numpy as np
import pytest
from bad_input import X, assert_same_weights, make_net

import fastbp as fb
from fastbp import _checks, model, serialization


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


@pytest.mark.parametrize("content", [b"", b"hello\n", b"PK", b"PK\x03\x04", b"\x93NUMPY", b"\x80\x04]."])
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
        pytest.param("n" * 256, OSError, id="long name"),
        ("circle", OSError),
        ("circle/net.npz", OSError),
    ],
)
def test_saving_where_no_file_can_be(name, error, tmp_path):
    (tmp_path / "file").write_text("whole")
    (tmp_path / "circle").symlink_to(tmp_path / "back")
    (tmp_path / "back").symlink_to(tmp_path / "circle")
    with pytest.raises(error) as caught:
        make_net().save(tmp_path / name)
    assert caught.value.filename == str(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["back", "circle", "file"]
    assert (tmp_path / "file").read_text() == "whole"


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_names_that_no_file_can_have(name):
    with pytest.raises(ValueError, match=r"empty|null"):
        make_net().save(name)


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


# --- archives that say one thing and hold another ---------------------------------------------------------------------


def npy(header, version=(1, 0), data=b""):
    """The bytes of an .npy file with any header."""
    text = header.encode() + b"\n"
    length = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    return np.lib.format.MAGIC_PREFIX + bytes(version) + length + text + data


def described(shape, descr="<f8"):
    return f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}}}"


def archived(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


ODD_MEMBERS = {
    "text": (b"hello", "x is no array"),
    "nothing": (b"", "x is no array"),
    "magic only": (np.lib.format.MAGIC_PREFIX, "x has no readable header"),
    "version": (npy(described((1,)), (3, 0), bytes(8)), "x has no readable header"),
    "too short": (npy(described((2,)), data=bytes(8)), r"x should hold 16 bytes for the shape \(2,\), but holds 8"),
    "too long": (npy(described((1,)), data=bytes(9)), "x should hold 8 bytes .* but holds 9"),
    "negative": (npy(described((-1, -1)), data=bytes(8)), r"\(-1, -1\)"),
    "huge": (npy(described((2**62,)), data=bytes(8)), "but holds 8"),
    "huge items": (npy(described((1,), "V2147483647"), data=bytes(8)), "but holds 8"),
    "objects": (npy(described((1,), "|O"), data=bytes(8)), "x holds Python objects"),
    "nested": (npy("[" * 9000), "x has no readable header"),
    "long header": (npy(described((1,)) + " " * 20_000, data=bytes(8)), "x has no readable header"),
    "longer header": (npy(described((1,)) + " " * 10**5, (2, 0), bytes(8)), "x has no readable header"),
    "no dictionary": (npy("3"), "x has no readable header"),
}


@pytest.mark.parametrize(("content", "message"), ODD_MEMBERS.values(), ids=ODD_MEMBERS)
def test_members_that_are_no_arrays(content, message, tmp_path):
    path = archived(tmp_path / "data.npz", {"x.npy": content})
    for read in (fb.datasets.read_npz, lambda path: fb.datasets.read(path, labels=False)):
        with pytest.raises(ValueError, match=f"data.npz is no readable .npz file: .*({message})") as caught:
            read(path)
        assert "allow_pickle" not in str(caught.value)  # no advice to load a foreign file unsafely
    with pytest.raises(ValueError, match=r"data.npz is not a network saved by fastbp"):
        fb.Sequential.load(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(compression, tmp_path):
    """A few bytes of theirs can become a million times as many, in one piece."""
    path = archived(tmp_path / "data.npz", {"x.npy": npy(described((1,)), data=bytes(8))}, compression)
    with pytest.raises(ValueError, match=r"x is compressed in a way that .npz files are not"):
        fb.datasets.read_npz(path)


def test_a_directory_that_promises_more_than_the_file_can_hold(tmp_path):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        start = npy(described((2**40,), "|u1"))
        archive.writestr("x.npy", start)
        archive.getinfo("x.npy").file_size = len(start) + 2**40
    with pytest.raises(ValueError, match="x is shorter than the directory of the archive says"):
        fb.datasets.read_npz(path)


def test_names_of_several_lines_make_a_message_of_one(saved, tmp_path):
    np.savez(tmp_path / "data.npz", **{"two\nlines": np.zeros(1)})
    with pytest.raises(ValueError, match=r"it holds two lines$"):
        fb.datasets.read(tmp_path / "data.npz")
    foreign(saved, **{"two\nlines": np.zeros(1)})
    with pytest.raises(ValueError, match=r"unknown arrays two lines$"):
        fb.Sequential.load(saved)


def test_many_names_make_a_short_message(saved, tmp_path):
    np.savez(tmp_path / "data.npz", **{f"array {i}": np.zeros(1) for i in range(1000)})
    with pytest.raises(ValueError, match=r"it holds array 0, array 1, array 2, array 3, array 4 and 995 more$"):
        fb.datasets.read(tmp_path / "data.npz")
    foreign(saved, **{f"array {i}": np.zeros(1) for i in range(1000)})
    with pytest.raises(ValueError, match=r"unknown arrays array 0, .* and 995 more$"):
        fb.Sequential.load(saved)


# --- small files that would fill the memory ---------------------------------------------------------------------------

BOMB = np.zeros(10**8, np.uint8)  # takes 97 KB in a compressed archive
ALLOWED = 10**7  # bytes: the file, pieces of 1 MiB, small arrays, and what the archive's reader needs


@pytest.fixture
def little_memory():
    """Fails when what is called takes as much memory as one of the bombs."""

    def run(function, *arguments, **options):
        tracemalloc.start()
        try:
            return function(*arguments, **options)
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < ALLOWED

    return run


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": BOMB}, "unknown arrays extra"),
        ({"affine_1.w": BOMB}, r"affine_1.w must have the shape \(8, 64\), got \(100000000,\)"),
        ({"config": BOMB}, r"config must have the shape \(\), got \(100000000,\)"),
        ({"config": np.array("[" * 25_000_000)}, "config takes 100,000,000 bytes, more than 67,108,864"),
    ],
    ids=["unknown", "parameter", "configuration", "long configuration"],
)
def test_networks_take_no_more_memory_than_their_layers(changes, message, saved, little_memory):
    with np.load(saved) as archive:
        np.savez_compressed(saved, **{**archive, **changes})
    assert saved.stat().st_size < 200_000
    with pytest.raises(ValueError, match=message):
        little_memory(fb.Sequential.load, saved)


def test_arrays_that_nobody_wants_are_not_read(tmp_path, little_memory):
    np.savez_compressed(tmp_path / "data.npz", x=X[:3], y=[1, 2, 3], more=BOMB)
    x, y = little_memory(fb.datasets.read, tmp_path / "data.npz")
    assert (len(x), len(y)) == (3, 3)
    np.savez_compressed(tmp_path / "data.npz", x=X[:3], y=BOMB)
    assert len(little_memory(fb.datasets.read, tmp_path / "data.npz", labels=False)[0]) == 3
    for x, y in ((X[:3], BOMB), (BOMB, [1, 2, 3])):
        np.savez_compressed(tmp_path / "data.npz", x=x, y=y)
        with pytest.raises(ValueError, match="same length"):
            little_memory(fb.datasets.read, tmp_path / "data.npz")


def test_a_header_may_not_be_as_long_as_it_says(tmp_path, little_memory):
    path = archived(tmp_path / "data.npz", {"x.npy": npy(" " * 10**8, (2, 0))})
    with pytest.raises(ValueError, match=r"data.npz is no readable .npz file"):
        little_memory(fb.datasets.read_npz, path)


def test_idx_files_are_read_as_far_as_their_headers_say(tmp_path, little_memory):
    path = tmp_path / "images.gz"
    head = bytes([0, 0, 8, 2]) + np.array([2, 4], ">u4").tobytes()
    path.write_bytes(gzip.compress(head + BOMB.tobytes()))
    with pytest.raises(ValueError, match=r"images.gz should hold 8 bytes for the shape \(2, 4\), but holds more"):
        little_memory(fb.datasets.read_idx, path)
    path.write_bytes(head + BOMB.tobytes())
    with pytest.raises(ValueError, match="but holds more"):
        little_memory(fb.datasets.read_idx, path)
    path.write_bytes(bytes([0, 0, 8, 2]) + b"\xff" * 8 + b"1234")
    with pytest.raises(ValueError, match="but holds 4"):
        little_memory(fb.datasets.read_idx, path)


def test_parameters_that_cannot_fit_are_named_before_they_are_made(saved, monkeypatch, little_memory):
    wide = fb.Affine(10**12)
    message = (
        r"affine_1, Affine\(1000000000000\) on samples \(64,\): not enough memory, its parameters take 256,000,000"
    )
    with pytest.raises(MemoryError, match=message):
        little_memory(fb.Sequential, wide, input_shape=64)
    assert (wide.name, wide.parameters) == ("", ())
    monkeypatch.setattr(model, "memory", lambda: 4 * 65 * 8 + 8 * 64 * 8)  # room for the first layer
    with pytest.raises(MemoryError, match=r"affine_2, Affine\(100\) on samples \(8,\): .* take 3,200 bytes"):
        fb.Sequential(fb.Affine(8), fb.Affine(100), input_shape=64)
    config = fb.datasets.read_npz(saved)["config"]
    monkeypatch.setattr(serialization, "memory", lambda: config.nbytes + 4 * 64 * 8 - 1)
    with pytest.raises(MemoryError, match=r"net.npz: affine_1, .* not enough memory, its parameters take 2,048 bytes"):
        fb.Sequential.load(saved)


def test_the_memory_of_this_machine(monkeypatch):
    assert _checks.memory() > 10**8

    def unknown(name):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "sysconf", unknown)
    assert _checks.memory() > 10**18


# --- many layers ------------------------------------------------------------------------------------------------------


class Compared(fb.ReLU):
    """Counts how often layers are compared with each other."""

    comparisons = 0

    def __eq__(self, other):
        Compared.comparisons += 1
        return self is other

    __hash__ = fb.ReLU.__hash__


def test_layers_are_not_compared_with_all_others():
    n = 500
    net = fb.Sequential(*(Compared() for _ in range(n)), input_shape=2)
    assert net.layers[-1].name == f"compared_{n}"
    assert Compared.comparisons <= n
    layer = Compared()
    with pytest.raises(ValueError, match="already part of a network"):
        fb.Sequential(layer, layer, input_shape=2)


def test_thousands_of_layers_there_and_back(tmp_path):
    fb.Sequential(*(fb.ReLU() for _ in range(20_000)), input_shape=2).save(tmp_path / "net.npz")
    assert fb.Sequential.load(tmp_path / "net.npz").layers[-1].name == "relu_20000"


def test_a_configuration_that_load_would_refuse_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(serialization, "_LONGEST_CONFIG", 100)
    with pytest.raises(ValueError, match=r"the network has a configuration of .* characters, more than 100"):
        make_net().save(tmp_path / "net.npz")
    assert os.listdir(tmp_path) == []
