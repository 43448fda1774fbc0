"""Speed-up and efficiency of a product and of training steps on 1, 2, 4 ... all CPUs."""

from threads import WORK, up_to
from timing import CPUS

from .script import effort, run


class Scaling:
    params = (WORK, up_to(CPUS))
    param_names = ("work", "threads")
    timeout = 1200

    def setup_cache(self):
        return run("threads", *effort(2, 0.3))

    def track_speedup(self, measured, work, threads):
        return measured[work][str(threads)]["speedup"]

    def track_efficiency(self, measured, work, threads):
        return measured[work][str(threads)]["efficiency"]

    def track_weak_efficiency(self, measured, work, threads):
        return measured[work][str(threads)]["weak efficiency"]
