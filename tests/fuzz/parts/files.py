"""Spoilt files of networks and of data: they load as they were, or are refused by one line, and take no memory."""

import gzip
import io
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

import fastbp as fb
from fuzz import mutations
from fuzz.arrays import pick
from fuzz.finding import attempt, check_same, memory_within, require

MEMORY = 3 * 2**30
MOST = 150  # MB that a file of some KB may take, far less than any bomb here
FOLDER = Path(tempfile.mkdtemp())


@cache
def networks():
    """Small networks of every kind of layer, with the files that they make."""
    made = [
        fb.Sequential(fb.Affine(5), fb.ReLU(), fb.Affine(5, bias=False), fb.LogSoftmax(), input_shape=5, seed=0),
        fb.Sequential(
            *(fb.Conv1d(2, 3, padding=1), fb.LeakyReLU(0.1), fb.MaxPool1d(2), fb.AvgPool1d(2, ceil=True), fb.Flatten()),
            *(fb.Affine(3), fb.Softmax()),
            input_shape=(1, 12),
            seed=1,
            dtype="float64",
        ),
        fb.Sequential(
            *(
                fb.Conv2d(2, 3),
                fb.Sigmoid(),
                fb.AvgPool2d(2),
                fb.Conv2d(3, 1, groups=1),
                fb.Tanh(),
                fb.GlobalAvgPool2d(),
            ),
            input_shape=(2, 6, 6),
            seed=2,
        ),
        fb.Sequential(fb.Conv3d(1, 2), fb.MaxPool3d(2), fb.Identity(), fb.Flatten(), input_shape=(1, 4, 4, 4), seed=3),
    ]
    path = FOLDER / "whole.npz"
    files = []
    for net in made:
        net.save(path)
        files.append(path.read_bytes())
    return made, files


def case(rng):
    return pick(rng, network, network, archive, images)(rng)


def network(rng):
    nets, files = networks()
    i = int(rng.integers(len(nets)))
    mutate = pick(rng, mutations.bytewise, mutations.archived, mutations.headed, mutations.configured)
    path = FOLDER / "net.npz"
    path.write_bytes(mutate(rng, files[i]))
    with memory_within(MOST, "Sequential.load"):
        net, refused = attempt(fb.Sequential.load, path, refusals=(ValueError, OSError, MemoryError))
    if refused:
        return "network refused"
    if mutate is mutations.bytewise:
        for parameter, whole in zip(net.parameters(), nets[i].parameters(), strict=True):
            check_same(parameter.value, whole.value, f"{parameter.name} of a spoilt file")
    x = rng.standard_normal((2, *net.input_shape)) if np.prod(net.input_shape, dtype=float) < 10**6 else None
    if x is not None:
        attempt(net.predict, x, refusals=(ValueError, MemoryError))
    return "network loaded"


def archive(rng):
    """Data in an .npz file."""
    arrays = {"x": rng.random((6, 4)).astype(np.float32), "y": rng.integers(0, 3, 6), "note": np.array("text")}
    whole = io.BytesIO()
    np.savez(whole, **arrays)
    mutate = pick(rng, mutations.bytewise, mutations.archived, mutations.headed)
    path = FOLDER / "data.npz"
    path.write_bytes(mutate(rng, whole.getvalue()))
    read, labels = pick(rng, fb.datasets.read, fb.datasets.read_npz), bool(rng.integers(2))
    if read is fb.datasets.read:
        with memory_within(MOST, "datasets.read"):
            made, refused = attempt(read, [path], labels=labels, refusals=(ValueError, OSError))
    else:  # all arrays, however large
        made, refused = attempt(read, path, refusals=(ValueError, OSError, MemoryError))
    if refused:
        return "data refused"
    if mutate is mutations.bytewise and read is fb.datasets.read:
        check_same(made[0], arrays["x"], "x of a spoilt file")
    return "data loaded"


def images(rng):
    """Images and labels in IDX files, plain or compressed."""
    x, y = rng.integers(0, 256, (5, 3, 2)), rng.integers(0, 3, 5)
    files = [mutations.idx(x), mutations.idx(y)]
    i = int(rng.integers(2))
    mutate = pick(rng, mutations.bytewise, mutations.zipped)
    files[i] = mutate(rng, files[i])
    files[1 - i] = pick(rng, gzip.compress, bytes)(files[1 - i])
    paths = [FOLDER / name for name in ("x.idx", "y.idx")]
    for path, content in zip(paths, files, strict=True):
        path.write_bytes(content)
    with memory_within(MOST, "read_idx"):
        made, refused = attempt(fb.datasets.read, paths, refusals=(ValueError, OSError))
    if not refused:
        require(len(made[0]) == len(made[1]), "samples and labels of different number")
    return "data refused" if refused else "data loaded"
