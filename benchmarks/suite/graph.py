"""What a node of a graph costs beside PyTorch's, and a step of training by a graph beside `Sequential`."""

from graph import CASES
from timing import CPUS

from .script import effort, ratio, run


class Nodes:
    params = (CASES,)
    param_names = ("node",)
    unit = "times as fast as torch"
    timeout = 900

    def setup_cache(self):
        return run("graph", "--threads", 1, *effort(3, 0.1))["nodes"]

    setup_cache.timeout = 900

    def setup(self, measured, node):
        ratio(measured[node])

    def track_ratio(self, measured, node):
        return ratio(measured[node])


class Step:
    unit = "times train_step"
    timeout = 900

    def setup_cache(self):
        return run("graph", "--threads", CPUS, *effort(3, 0.1))["steps"][str(CPUS)]

    setup_cache.timeout = 900

    def track_ratio(self, measured):
        return measured["graph"][1]
