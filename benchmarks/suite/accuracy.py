"""Test accuracy on the digits after a second of training."""

from accuracy import LIBRARIES
from timing import THREADS

from .script import of, run


class AfterASecond:
    params = (list(LIBRARIES), THREADS)
    param_names = ("library", "threads")
    unit = "accuracy"
    timeout = 300

    def setup_cache(self):
        return run("accuracy")

    def setup(self, measured, library, threads):
        self.last = of(library, measured[str(threads)])[-1]

    def track_accuracy(self, measured, library, threads):
        return self.last["accuracy"]

    def track_epochs(self, measured, library, threads):
        return self.last["epochs"]

    track_epochs.unit = "epochs"
