"""The update of weights by itself."""

import case
from case import MILLIONS, Case, normal

from fastbp import kernels


def sgd_update(dtype):
    g, w = normal(dtype, MILLIONS), normal(dtype, MILLIONS)
    return Case(lambda: kernels.sgd_update(g, w, 1e-9), 2 * MILLIONS, [g, w, w])


CASES = {"sgd_update": sgd_update}


class Update(case.Timed):
    cases = CASES

    def setup_cache(self):
        case.compile_all(CASES)
