"""Memory of a training step: its peak over batch size and width, and beside the prediction and PyTorch."""

import numpy as np
from memory import BATCHES_AND_WIDTHS, predicted

import fastbp as fb

from .script import of, run

NETWORKS = ["CNN A", "CNN B"]


class Step:
    """Peak of a process that trains 784-n-n-10 for a step: the imports and the code are in it."""

    params = tuple(sorted(set(values)) for values in zip(*BATCHES_AND_WIDTHS, strict=True))
    param_names = ("batch", "hidden")
    timeout = 300

    def setup(self, batch, hidden):
        layers = fb.Affine(hidden), fb.ReLU(), fb.Affine(hidden), fb.ReLU(), fb.Affine(10)
        self.net = fb.Sequential(*layers, input_shape=784, seed=0)
        self.x, self.t = np.zeros((batch, 784), np.float32), np.zeros(batch, int)
        self.loss, self.optimizer = fb.SoftmaxCrossEntropy(), fb.SGD(0.1)
        self.net.train_step(self.x[:2], self.t[:2], loss=self.loss, optimizer=self.optimizer)  # compiles

    def peakmem_step(self, batch, hidden):
        self.net.train_step(self.x, self.t, loss=self.loss, optimizer=self.optimizer)

    def track_predicted_bytes(self, batch, hidden):
        return predicted(self.net.cost(batch))

    track_predicted_bytes.unit = "bytes"


class Slope:
    """Bytes for each sample and hidden unit, fitted."""

    unit = "bytes"
    timeout = 600

    def setup_cache(self):
        return run("memory", "--grow")["slopes"]

    def track_measured(self, slopes):
        return slopes["rise"]

    def track_predicted(self, slopes):
        return slopes["predicted"]


class Rise:
    """By how much a network and three steps raise the peak of a process."""

    params = (NETWORKS, ["fastbp", "torch"])
    param_names = ("network", "library")
    unit = "bytes"
    timeout = 600

    def setup_cache(self):
        return run("memory", "--networks", *NETWORKS)

    def setup(self, measured, network, library):
        self.rise = of(library, measured[network])["rise"]

    def track_rise(self, measured, network, library):
        return self.rise
