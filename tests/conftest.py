"""Settings of all tests, and the fixtures that several files use."""

import numpy as np
import pytest
import reference
from bad_input import make_net
from hypothesis import settings

import fastbp
from fastbp.kernels import _runtime

collect_ignore = ["fuzz"]  # programs of their own, which place workspaces next to guard pages when they are imported

# Compiling a kernel takes longer than any deadline; derandomised, a run can be repeated.
settings.register_profile("fastbp", deadline=None, derandomize=True, max_examples=60, print_blob=False)
settings.load_profile("fastbp")


@pytest.fixture
def saved(tmp_path):
    """A file with a small network."""
    path = tmp_path / "net.npz"
    make_net().save(path)
    return path


@pytest.fixture
def restore_threads():
    """The number of threads is afterwards what it was before."""
    before = fastbp.get_num_threads()
    yield
    fastbp.set_num_threads(before)


@pytest.fixture
def check_both_variants(monkeypatch):
    """Checks that a function gives the same arrays, without NaN, with kernels in parallel and serially."""

    def check(run):
        results = []
        for work in (_runtime.PARALLEL_WORK, np.inf):
            monkeypatch.setattr(_runtime, "PARALLEL_WORK", work)
            results.append(run())
        for parallel, serial in zip(*results, strict=True):
            reference.assert_bitwise(parallel, serial)
            assert not np.isnan(serial).any()

    return check
