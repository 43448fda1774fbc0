"""Test accuracy on the digits after a second of training."""

import os
from pathlib import Path

from .script import run

ACCURACY = Path(__file__).parents[1] / "accuracy.py"


class AfterASecond:
    params = (["fastbp", "sklearn", "torch"], sorted({1, len(os.sched_getaffinity(0))}))
    param_names = ("library", "threads")
    unit = "accuracy"
    timeout = 300

    def setup_cache(self):
        return run(ACCURACY, "--json")

    def track_accuracy(self, measured, library, threads):
        return measured[str(threads)][library][-1]["accuracy"]

    def track_epochs(self, measured, library, threads):
        return measured[str(threads)][library][-1]["epochs"]

    track_epochs.unit = "epochs"
