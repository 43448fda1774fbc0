"""Memory of a training step: its peak over batch size and width, and beside the prediction and PyTorch."""

from pathlib import Path

import numpy as np

from .script import run

MEMORY = Path(__file__).parents[1] / "memory.py"
NETWORKS = ["CNN A", "CNN B"]


class Step:
    """Peak of a process that trains 784-n-n-10 for a step: the imports and the code are in it."""

    params = ([256, 1024, 4096], [256, 512, 1024])
    param_names = ("batch", "hidden")
    timeout = 300

    def setup(self, batch, hidden):
        import fastbp as fb

        layers = fb.Affine(hidden), fb.ReLU(), fb.Affine(hidden), fb.ReLU(), fb.Affine(10)
        self.net = fb.Sequential(*layers, input_shape=784, seed=0)
        self.x, self.t = np.zeros((batch, 784), np.float32), np.zeros(batch, int)
        self.loss, self.optimizer = fb.SoftmaxCrossEntropy(), fb.SGD(0.1)
        self.net.train_step(self.x[:2], self.t[:2], loss=self.loss, optimizer=self.optimizer)  # compiles

    def peakmem_step(self, batch, hidden):
        self.net.train_step(self.x, self.t, loss=self.loss, optimizer=self.optimizer)

    def track_predicted_bytes(self, batch, hidden):
        return self.net.cost(batch).training_bytes

    track_predicted_bytes.unit = "bytes"


class Slope:
    """Bytes for each sample and hidden unit, fitted."""

    unit = "bytes"
    timeout = 600

    def setup_cache(self):
        return run(MEMORY, "--grow", "--json")["slopes"]

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
        return run(MEMORY, "--json", "--networks", *NETWORKS)

    def track_rise(self, measured, network, library):
        return measured[network][library]["rise"]
