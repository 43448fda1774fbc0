"""Accuracy on handwritten digits after some time of training, beside scikit-learn and PyTorch.

    python benchmarks/accuracy.py                     # after 0.05 to 1 second, 1 thread and all CPUs

The 1797 digits that come with fastbp, a fifth of them to test on; 100 hidden units with ReLU, softmax cross-entropy,
plain SGD with a rate of 0.1, batches of 32 in the same shuffled order. Each library trains in a process of its own,
warmed up on another network; only the training steps count, not the tests between them.
"""

import argparse
import json
import os
import sys
import time

import numpy as np
from compare import sklearn_network
from timing import add_json, add_options, as_json, in_process, installed

HIDDEN, RATE, BATCH = 100, 0.1, 32
SECONDS = 0.05, 0.1, 0.2, 0.5, 1.0


def fastbp_network(inputs, classes):
    import fastbp as fb

    net = fb.Sequential(fb.Affine(HIDDEN), fb.ReLU(), fb.Affine(classes), input_shape=inputs, seed=0)
    loss, optimizer = fb.SoftmaxCrossEntropy(), fb.SGD(RATE)
    return lambda x, y: net.train_step(x, y, loss=loss, optimizer=optimizer), lambda x: net.predict(x).argmax(1)


def sklearn_perceptron(inputs, classes):
    net = sklearn_network((HIDDEN,), RATE, BATCH)
    labels = np.arange(classes)
    return lambda x, y: net.partial_fit(x, y, classes=labels), net.predict


def torch_network(inputs, classes):
    import torch
    from torch import nn

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, classes))
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE)

    def step(x, y):
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(net(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        optimizer.step()

    def predict(x):
        with torch.no_grad():
            return net(torch.from_numpy(x)).numpy().argmax(1)

    return step, predict


LIBRARIES = {"fastbp": fastbp_network, "sklearn": sklearn_perceptron, "torch": torch_network}


def worker(library):
    """Print the test accuracy after each of SECONDS, and the number of epochs until then."""
    import fastbp as fb

    x, y = fb.datasets.load_digits()
    (x, y), (x_test, y_test) = fb.datasets.split(x.astype(np.float32), y, test=0.2, seed=0)
    make = LIBRARIES[library]
    step, predict = make(x.shape[1], 10)
    for start in range(0, 10 * BATCH, BATCH):  # warms up
        step(x[start : start + BATCH], y[start : start + BATCH])
    predict(x_test)
    step, predict = make(x.shape[1], 10)
    rng, spent, steps, result = np.random.default_rng(0), 0.0, 0, []
    order = []
    while len(result) < len(SECONDS):
        if len(order) < BATCH:
            order = rng.permutation(len(x))
        batch, order = order[:BATCH], order[BATCH:]
        start = time.perf_counter()
        step(x[batch], y[batch])
        spent, steps = spent + time.perf_counter() - start, steps + 1
        if spent >= SECONDS[len(result)]:
            accuracy = float((predict(x_test) == y_test).mean())
            result.append({"seconds": SECONDS[len(result)], "accuracy": accuracy, "epochs": steps * BATCH / len(x)})
    json.dump(result, sys.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    add_json(parser)
    parser.add_argument("--worker", nargs=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(*arguments.worker)
        return
    libraries = installed(LIBRARIES)
    measured = {t: {name: in_process(__file__, name, threads=t) for name in libraries} for t in arguments.threads}
    if as_json(arguments, measured):
        return
    out = sys.stdout.write
    out(f"| test accuracy (epochs) after | {' | '.join(f'{seconds} s' for seconds in SECONDS)} |\n")
    out(f"|{' --- |' * (len(SECONDS) + 1)}\n")
    for threads, by_library in measured.items():
        for library, results in by_library.items():
            cells = [f"{100 * r['accuracy']:.1f} % ({r['epochs']:.1f})" for r in results or []]
            cells = cells or ["failed"] * len(SECONDS)
            out(f"| {library}, {threads} thread(s) | {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
