"""Whole training steps: time, and time of the fastest other library over that of fastbp."""

from functools import partial

import case
import compare
from timing import THREADS

from .script import effort, ratio, run


def training_step(network, dtype):
    step = compare.fastbp_step(*compare.data(*compare.NETWORKS[network]))
    return case.Case(step, 0, [])


CASES = {network: partial(training_step, network) for network in compare.NETWORKS}


class Training(case.Timed):
    cases = CASES

    def setup_cache(self):
        case.compile_all(CASES)


class Peers:
    params = (list(compare.NETWORKS), THREADS)
    param_names = ("network", "threads")
    unit = "ratio"
    timeout = 900

    def setup(self, network, threads):
        (row,) = run("compare", "--networks", network, "--threads", threads, *effort(2, 1))
        self.ratio = ratio(row)

    def track_ratio(self, network, threads):
        return self.ratio
