"""The update of weights by itself."""

import case
from case import ELEMENTS, Case, normal

from fastbp import kernels


def sgd_update(dtype):
    g, w = normal(dtype, ELEMENTS), normal(dtype, ELEMENTS)
    return Case(lambda: kernels.sgd_update(g, w, 1e-9), 4 * ELEMENTS, [g, w, w])


CASES = {"sgd_update": sgd_update}


class Update(case.Timed):
    cases = CASES

    def setup_cache(self):
        case.compile_all(CASES)
