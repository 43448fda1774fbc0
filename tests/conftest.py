"""Settings of all tests, and the fixtures that several files use."""

import pytest
from bad_input import make_net
from hypothesis import settings

# Compiling a kernel takes longer than any deadline; derandomised, a run can be repeated.
settings.register_profile("fastbp", deadline=None, derandomize=True, max_examples=60, print_blob=False)
settings.load_profile("fastbp")


@pytest.fixture
def saved(tmp_path):
    """A file with a small network."""
    path = tmp_path / "net.npz"
    make_net().save(path)
    return path
