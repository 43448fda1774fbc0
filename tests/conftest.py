"""Settings of all tests."""

from hypothesis import settings

# Compiling a kernel takes longer than any deadline; derandomised, a run can be repeated.
settings.register_profile("fastbp", deadline=None, derandomize=True, max_examples=60, print_blob=False)
settings.load_profile("fastbp")
