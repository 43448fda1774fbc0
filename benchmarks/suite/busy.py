"""Training steps beside busy processes: their time over that of one thread."""

from busy import ratio
from compare import NETWORKS

from .script import effort, run


class Beside:
    params = (list(NETWORKS), [1, 2])
    param_names = ("network", "busy processes")
    unit = "ratio"
    timeout = 900

    def setup_cache(self):
        rows = run("busy", "--busy", 1, 2, *effort(3, 0.5))
        return {(row["network"], row["busy"]): ratio(row["times"]) for row in rows}

    def track_ratio(self, measured, network, busy):
        return measured[network, busy]
