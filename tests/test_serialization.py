"""Saving and loading: whole or not at all, and nothing from a file is run."""

import contextlib
import errno
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import fastbp as fb
from fastbp import _saving

BYTE = pytest.param("\udcff", marks=pytest.mark.skipif(sys.platform != "linux", reason="names are text on this system"))
X = np.random.default_rng(13).normal(size=(10, 6))
Y = np.arange(10) % 3
LOAD_ERROR = r"net\.npz is not a network saved by fastbp, or is damaged"


def network(dtype="float32"):
    layers = [fb.Affine(8), fb.LeakyReLU(0.2), fb.Affine(5, bias=False), fb.Tanh(), fb.Affine(3, init="lecun")]
    net = fb.Sequential(*layers, input_shape=6, dtype=dtype, seed=1)
    net.fit(X, Y, loss=fb.SoftmaxCrossEntropy(), optimizer=fb.SGD(0.1))
    return net


@pytest.fixture
def path(tmp_path):
    """A saved network."""
    network().save(tmp_path / "net.npz")
    return tmp_path / "net.npz"


def changed(path, config=None, **arrays):
    """The saved network with other arrays (None: removed) and other entries of its configuration."""
    with np.load(path) as archive:
        contents = {name: archive[name] for name in archive.files}
    settings = json.loads(str(contents["config"]))
    settings.update(config or {})
    contents["config"] = np.array(json.dumps(settings))
    contents.update(arrays)
    np.savez(path, **{name: value for name, value in contents.items() if value is not None})


def refused(path, match=""):
    with pytest.raises(ValueError, match=f"{LOAD_ERROR}.*{match}"):
        fb.Sequential.load(path)


# --- there and back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_round_trip(dtype, tmp_path):
    net = network(dtype)
    net.save(tmp_path / "net.npz")
    other = fb.Sequential.load(tmp_path / "net.npz")
    assert type(other) is fb.Sequential
    assert repr(other) == repr(net)
    assert other.dtype == dtype
    assert other.rng.bit_generator.state == net.rng.bit_generator.state
    assert [p.name for p in other.parameters()] == [p.name for p in net.parameters()]
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        assert p.value.dtype == q.value.dtype
        assert p.value.flags.f_contiguous == q.value.flags.f_contiguous
        np.testing.assert_array_equal(p.value, q.value)
    np.testing.assert_array_equal(net.predict(X), other.predict(X))


def test_every_layer_is_restored(tmp_path):
    layers = [fb.ReLU(), fb.Flatten(), fb.LeakyReLU(0.3), fb.Sigmoid(), fb.Tanh(), fb.Identity(), fb.Softmax()]
    net = fb.Sequential(*layers, fb.Affine(2), fb.LogSoftmax(), input_shape=(2, 3), seed=0)
    net.save(tmp_path / "net.npz")
    assert repr(fb.Sequential.load(tmp_path / "net.npz")) == repr(net)


def test_file_holds_arrays_in_the_order_of_the_parameters(path):
    with np.load(path, allow_pickle=False) as archive:
        names = archive.files
    assert names == ["config", *(p.name for p in network().parameters())]


def test_paths(tmp_path):
    net = network()

    class Named:
        def __fspath__(self):
            return str(tmp_path / "named")

    for target in (tmp_path / "a.npz", str(tmp_path / "b.npz"), Named(), tmp_path / "no suffix"):
        net.save(target)
        assert os.path.exists(target)
        np.testing.assert_array_equal(fb.Sequential.load(target).predict(X), net.predict(X))


def test_save_replaces_and_leaves_nothing_else(path):
    net = network()
    net.parameters()[0].value[...] = 1
    net.save(path)
    assert [entry.name for entry in path.parent.iterdir()] == ["net.npz"]
    np.testing.assert_array_equal(fb.Sequential.load(path).parameters()[0].value, 1)


def test_save_through_a_link_keeps_the_link(path):
    link = path.with_name("link.npz")
    link.symlink_to(path)
    net = network()
    net.parameters()[0].value[...] = 1
    net.save(link)
    assert link.is_symlink()
    np.testing.assert_array_equal(fb.Sequential.load(path).parameters()[0].value, 1)


# --- damaged and foreign files ----------------------------------------------------------------------------------------


def test_truncated_files(path):
    whole = path.read_bytes()
    for length in [0, 1, 4, 100, *range(200, len(whole), len(whole) // 20), len(whole) - 1]:
        path.write_bytes(whole[:length])
        refused(path)


def test_random_bytes(path):
    rng = np.random.default_rng(0)
    for start in (b"", b"PK\3\4", b"PK\5\6", b"\x93NUMPY\1\0", b"\x80\4"):
        path.write_bytes(start + rng.bytes(500))
        refused(path)


def test_any_byte_changed(path):
    """Each change is noticed with a ValueError, or it is in bytes without meaning."""
    whole, net = path.read_bytes(), network()
    # the directory of the archive, at its end, byte by byte; the rest in part
    for i in [*range(0, len(whole) - 500, 11), *range(len(whole) - 500, len(whole))]:
        flipped = bytearray(whole)
        flipped[i] ^= 0xFF
        path.write_bytes(flipped)
        with contextlib.suppress(ValueError):
            other = fb.Sequential.load(path)
            np.testing.assert_array_equal(other.predict(X), net.predict(X))


def test_foreign_files(path):
    np.savez(path, x=np.ones(3))
    refused(path, "config is missing")
    np.savez(path, config=np.ones(3))
    refused(path, "config must have the shape")
    for text in ("", "{", "[]", "1", "null", '{"format": "other"}'):
        np.savez(path, config=np.array(text))
        refused(path)
    np.save(path.with_name("net.npy"), np.ones(3))
    path.with_name("net.npy").replace(path)
    refused(path, "does not start like one")


def test_pickled_objects_are_refused_and_not_run(path):
    touched = path.with_name("touched")

    class Harm:
        def __reduce__(self):
            return Path.touch, (touched,)

    objects = np.empty(1, object)
    objects[0] = Harm()
    changed(path, **{"affine_1.b": objects})
    refused(path, "affine_1.b holds Python objects, which are not loaded")
    np.savez(path, config=objects.reshape(()))
    refused(path, "config holds Python objects")
    assert not touched.exists()


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"affine_1.w": np.ones((6, 8))}, r"affine_1\.w must have the shape \(8, 6\), got \(6, 8\)"),
        ({"affine_3.b": np.ones((3, 1))}, r"affine_3\.b must have the shape \(3,\)"),
        ({"affine_2.w": None}, r"affine_2\.w is missing"),
        ({"affine_2.b": np.ones(5)}, r"unknown arrays affine_2\.b"),
        ({"affine_1.b": np.full(8, 1j)}, r"affine_1\.b"),
        ({"affine_1.b": np.full(8, "1")}, r"affine_1\.b"),
    ],
    ids=["shape", "dimensions", "missing", "extra", "complex", "text"],
)
def test_wrong_arrays(path, arrays, match):
    changed(path, **arrays)
    refused(path, match)


def pcg64(state, inc):
    return {"bit_generator": "PCG64", "state": {"state": state, "inc": inc}, "has_uint32": 0, "uinteger": 0}


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"format": "other"}, "no fastbp configuration"),
        ({"version": 2}, "its version is 2, this fastbp reads 1"),
        ({"version": None}, "its version is None"),
        ({"layers": [{"type": "Lambda"}]}, "unknown layer 'Lambda'"),
        ({"layers": [{"type": "Affine", "n": 8, "code": "x"}]}, "unexpected keyword"),
        ({"layers": [{"n": 8}]}, "'type' is missing"),
        ({"layers": []}, "at least one layer"),
        ({"layers": 5}, ""),
        ({"layers": [5]}, ""),
        ({"layers": [{"type": ["Affine"]}]}, ""),
        ({"layers": None}, ""),
        ({"dtype": "float16"}, "dtype must be float32 or float64"),
        ({"dtype": 5}, "dtype must be float32 or float64"),
        ({"input_shape": [-1]}, "input_shape"),
        ({"input_shape": None}, ""),
        ({"input_shape": 10**30}, ""),
        ({"rng": {"bit_generator": "MT19937"}}, ""),
        ({"rng": None}, ""),
        ({"rng": pcg64(-1, 1)}, ""),
        ({"rng": pcg64(1, 2**200)}, ""),
        ({"rng": pcg64("x", 1)}, ""),
    ],
    ids=repr,
)
def test_wrong_configuration(path, config, match):
    changed(path, config=config)
    refused(path, match)


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        fb.Sequential.load(tmp_path / "none.npz")
    with pytest.raises(IsADirectoryError):
        fb.Sequential.load(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        network().save(tmp_path / "none" / "net.npz")
    assert caught.value.filename == str(tmp_path / "none" / "net.npz")


# --- whole or not at all ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
def test_failure_while_writing_leaves_the_old_file(path, monkeypatch, error):
    before = path.read_bytes()

    def half(file, *args, **kwargs):
        file.write(b"half of it")
        raise error

    monkeypatch.setattr(np.lib.format, "write_array", half)
    with pytest.raises(type(error)) as caught:
        network().save(path)
    if isinstance(error, OSError):
        assert (caught.value.errno, caught.value.filename) == (28, str(path))
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["net.npz"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failure_before_the_renaming_leaves_the_old_file(path, monkeypatch, step):
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="Input/output error"):
        network().save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["net.npz"]


def test_file_is_flushed_to_disk_before_it_is_renamed(tmp_path, monkeypatch):
    events, fsync, replace = [], os.fsync, os.replace

    def recorded_fsync(descriptor):
        information = os.fstat(descriptor)
        events.append(("fsync", information.st_ino, information.st_size))
        fsync(descriptor)

    def recorded_replace(source, target):
        events.append(("replace", os.stat(source).st_ino, os.stat(source).st_size))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    network().save(tmp_path / "net.npz")
    written = os.stat(tmp_path / "net.npz")
    assert events[:2] == [(name, written.st_ino, written.st_size) for name in ("fsync", "replace")]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_folder_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        network().save(tmp_path / "net.npz")


def test_the_file_is_what_numpy_writes(path, tmp_path):
    with np.load(path) as archive:
        np.savez(tmp_path / "numpy.npz", **archive)
    assert path.read_bytes() == (tmp_path / "numpy.npz").read_bytes()


# --- interrupts -------------------------------------------------------------------------------------------------------


def interrupted_at(moment, function):
    """Whether ``function`` comes to so many calls and lines and is hit by Ctrl-C there; a destructor would go on."""
    events = 0

    def within_destructor(frame):
        while frame is not None and frame.f_code.co_name != "__del__":
            frame = frame.f_back
        return frame is not None

    def trace(frame, event, argument):
        nonlocal events
        if event in ("call", "line") and not within_destructor(frame):
            events += 1
            if events == moment:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a file that was just being opened is closed by its destructor
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interrupts_come_through_and_leave_a_whole_file_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # a thousand times it takes long
    path = tmp_path / "net.npz"
    old, new = fb.Sequential(fb.Affine(1), input_shape=1, seed=0), fb.Sequential(fb.Affine(1), input_shape=1, seed=1)
    new.save(path)
    after = path.read_bytes()
    old.save(path)
    before, found, moment = path.read_bytes(), set(), 1
    while interrupted_at(moment, lambda: new.save(path)):
        assert os.listdir(tmp_path) == ["net.npz"]
        found.add(path.read_bytes())
        old.save(path)
        moment += 3
    assert moment > 1000
    assert found == {before, after}


# --- what killed writers leave ----------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys, fastbp as fb
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
fb.Sequential(fb.Affine(2), input_shape=2).save(sys.argv[1])
"""
locks = pytest.mark.skipif(not _saving._LOCKS, reason="this system has no file locks")


def leftover(path):
    """A file as a killed writer leaves it."""
    left = path.with_name(f"{_saving._prefix(path)}0123")
    left.write_bytes(b"half")
    return left


@locks
def test_what_a_killed_process_left_is_removed_by_the_next_save(path):
    whole = path.read_bytes()
    process = subprocess.run([sys.executable, "-c", KILLED, str(path)])
    assert process.returncode == -9
    (left,) = set(os.listdir(path.parent)) - {"net.npz"}
    assert left.startswith(".fastbp-")
    assert path.read_bytes() == whole
    other = path.with_name("other.npz")
    network().save(other)
    assert left in os.listdir(path.parent)  # it is none of this one's
    network().save(path)
    assert sorted(os.listdir(path.parent)) == ["net.npz", "other.npz"]


@locks
def test_a_living_writer_is_left_alone(path):
    def outer(file):
        file.write(b"outer")
        network().save(path)
        fb.Sequential.load(path)

    _saving.write_whole(path, outer)
    assert path.read_bytes() == b"outer"
    assert os.listdir(path.parent) == ["net.npz"]


@locks
def test_where_locks_do_not_work_nothing_is_taken_for_left_behind(path, monkeypatch):
    def flock(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    left = leftover(path)
    monkeypatch.setattr(_saving.fcntl, "flock", flock)
    network().save(path)
    assert left.exists()


@locks
def test_a_file_that_was_removed_before_it_was_locked_is_made_again(path, monkeypatch):
    flock, removed = _saving.fcntl.flock, []

    def late(file, operation):
        if not removed:
            removed.append(file.name)
            os.unlink(file.name)
        flock(file, operation)

    monkeypatch.setattr(_saving.fcntl, "flock", late)
    network().save(path)
    assert removed
    assert os.listdir(path.parent) == ["net.npz"]
    fb.Sequential.load(path)


@locks
def test_links_and_pipes_in_place_of_a_leftover_are_not_followed(path, tmp_path):
    kept = tmp_path / "kept"
    kept.write_text("whole")
    left = leftover(path)
    left.unlink()
    left.symlink_to(kept)
    os.mkfifo(left.with_name(f"{left.name}4"))
    network().save(path)
    assert kept.read_text() == "whole"


def test_writers_at_the_same_time(path):
    """The file is always that of one of them, whole, and nothing is left."""
    nets = [fb.Sequential(fb.Affine(3), input_shape=6, seed=seed) for seed in range(4)]
    errors = []

    def write(net):
        try:
            for _ in range(20):
                net.save(path)
                fb.Sequential.load(path)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(net,)) for net in nets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert os.listdir(path.parent) == ["net.npz"]


# --- owner and permissions --------------------------------------------------------------------------------------------

owners = pytest.mark.skipif(not hasattr(os, "fchown"), reason="this system has no owners and permissions as on Unix")


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@owners
@pytest.mark.parametrize("permissions", [0o600, 0o640, 0o644, 0o666, 0o400])
def test_permissions_are_kept_and_nobody_else_reads_meanwhile(permissions, path, umask):
    def fill(file):
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600

    path.chmod(permissions)
    _saving.write_whole(path, fill)
    assert mode(path) == permissions


@owners
@pytest.mark.parametrize(("mask", "permissions"), [(0o022, 0o644), (0o077, 0o600), (0o007, 0o660)])
def test_a_new_file_has_the_permissions_of_new_files(mask, permissions, tmp_path, umask):
    umask(mask)
    network().save(tmp_path / "net.npz")
    assert mode(tmp_path / "net.npz") == permissions


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only the superuser gives files away")
def test_the_owner_is_kept(path):
    os.chown(path, 65534, 65533)
    path.chmod(0o640)
    network().save(path)
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (65534, 65533, 0o640)


@owners
def test_members_of_another_group_may_do_what_anybody_may(path, monkeypatch):
    def fchown(*arguments):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    path.chmod(0o664)
    monkeypatch.setattr(os, "fchown", fchown)
    network().save(path)
    assert mode(path) == 0o644


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["n" * 242, "n" * 255, "\u00fc" * 127, "a\nb", "-", " ", "*?[", BYTE])
def test_every_name_that_a_file_can_have(name, tmp_path):
    net = network()
    net.save(tmp_path / name)
    net.save(tmp_path / name)
    assert os.listdir(tmp_path) == [name]
    np.testing.assert_array_equal(fb.Sequential.load(tmp_path / name).predict(X), net.predict(X))


# --- pipes ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_load_from_a_pipe(path):
    pipe = path.with_name("pipe")
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(path.read_bytes()))
    writer.start()
    other = fb.Sequential.load(pipe)
    writer.join()
    np.testing.assert_array_equal(other.predict(X), network().predict(X))
